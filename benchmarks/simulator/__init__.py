"""The simulator's own speed, and where the policies end as workers get more."""
