"""The ledger: positions are somewhere, once."""

from __future__ import annotations

import pytest

from evener.core.ledger import Epoch, Fate, Ledger, Lot


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def epoch(ledger: Ledger) -> Epoch:
    return ledger.open_epoch(0, 20)


@pytest.fixture
def lots(ledger: Ledger, epoch: Epoch) -> list[Lot]:
    return [ledger.open_lot(epoch, 8), ledger.open_lot(epoch, 8)]


def test_lots_are_cut_from_the_stream_in_order(epoch: Epoch, lots: list[Lot]) -> None:
    assert [lot.pool for lot in lots] == [[(0, 8)], [(8, 16)]]
    assert [lot.index for lot in lots] == [0, 1]
    assert epoch.stream == [(16, 20)]
    assert epoch.unlotted == 4


def test_the_rest_of_a_stream_can_be_dropped(ledger: Ledger, epoch: Epoch, lots: list[Lot]) -> None:
    assert ledger.drop_rest(epoch) == ((16, 20),)
    assert epoch.ends[Fate.DROPPED] == 4
    assert epoch.unlotted == 0


def test_a_ticket_takes_positions_out_and_gives_them_back(ledger: Ledger, lots: list[Lot]) -> None:
    ticket = ledger.issue(lots[0], 3, 5, 0, None)
    assert ticket.ranges == ((0, 5),)
    assert (lots[0].free, lots[0].pool) == (3, [(5, 8)])
    assert ledger.tickets == {ticket.id: ticket}
    ledger.give_back(ticket)
    assert (lots[0].free, lots[0].pool) == (8, [(0, 8)])
    assert not ledger.tickets
    assert not lots[0].tickets


def test_a_ticket_is_its_own_group_or_joins_one(ledger: Ledger, lots: list[Lot]) -> None:
    first = ledger.issue(lots[0], 0, 2, 0, None)
    second = ledger.issue(lots[0], 0, 2, 0, first.group)
    other = ledger.issue(lots[0], 1, 2, 0, None)
    assert second.group == first.group == first.id
    assert other.group == other.id


@pytest.mark.parametrize("fate", [Fate.APPLIED, Fate.DECLINED, Fate.REFUSED])
def test_a_lot_is_complete_when_all_is_settled(ledger: Ledger, epoch: Epoch, lots: list[Lot], fate: Fate) -> None:
    first, second = (ledger.issue(lots[0], 0, 4, 0, None) for _ in range(2))
    ledger.settle(first, fate)
    assert not lots[0].complete
    ledger.settle(second, Fate.APPLIED)
    assert lots[0].complete
    assert sum(epoch.ends.values()) == 8
    assert not epoch.complete


def test_tickets_are_never_dropped(ledger: Ledger, lots: list[Lot]) -> None:
    with pytest.raises(ValueError, match="never a ticket"):
        ledger.settle(ledger.issue(lots[0], 0, 4, 0, None), Fate.DROPPED)


def test_a_moved_ticket_is_repaid_by_its_new_lot(ledger: Ledger, lots: list[Lot]) -> None:
    ticket = ledger.issue(lots[0], 0, 6, 0, None)
    ledger.move(ticket, lots[1])
    assert ticket.lot is lots[1]
    assert (lots[0].free, lots[1].free) == (8, 2)
    assert lots[0].pool == [(6, 14)]
    assert not lots[0].tickets
    ledger.settle(ticket, Fate.APPLIED)
    assert (lots[0].applied, lots[1].applied) == (0, 6)


def test_a_ticket_moves_only_where_it_can_be_repaid(ledger: Ledger, epoch: Epoch, lots: list[Lot]) -> None:
    ticket = ledger.issue(lots[0], 0, 6, 0, None)
    rest = ledger.open_lot(epoch, 4)
    elsewhere = ledger.open_lot(ledger.open_epoch(1, 8), 8)
    for lot in (rest, elsewhere):
        with pytest.raises(ValueError, match="of its epoch that can repay"):
            ledger.move(ticket, lot)
    assert ticket.lot is lots[0]
