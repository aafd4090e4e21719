/* A user-space switch: links with rate, delay and loss, for kernels that cannot make them.
 *
 *   switch SPACE RATE DELAY LOSS [SPACE RATE DELAY LOSS ...]
 *
 * Makes a TAP device eth0 in each network namespace. RATE in bit/s (0: no limit), DELAY in microseconds one way, LOSS in
 * millionths. A frame passes two links: up from its sender, down to its receiver; each has its own queue, and each adds
 * its rate, delay and loss. Port i has the address 02:00:00:00:00:(i+1), so nothing need be learnt.
 * Prints "ready" when all devices are there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PORTS 64
#define FRAME 70000
#define SECOND 1000000000LL
#define QUEUE (SECOND / 5) /* what would wait longer for a slow link is dropped */
#define OVERHEAD 24        /* bytes on the wire beside each frame: preamble, checksum, gap */
#define AT_ONCE 128        /* frames read from one port before the others have their turn */

enum { UP, DOWN };

typedef struct {
    int tap;
    double rate;
    int64_t delay;
    int loss;
    int64_t busy[2]; /* until when each direction is sending what it has accepted */
} Port;

typedef struct {
    int64_t time;
    uint64_t order; /* frames of the same time keep theirs */
    int to, length, has_reached_receiver;
    unsigned char *data;
} Frame;

static Port ports[PORTS];
static int count;
static Frame *heap;
static size_t size, room;
static uint64_t frames;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int before(const Frame *a, const Frame *b) {
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void push(Frame frame) {
    if (size == room) {
        room = room ? 2 * room : 1024;
        heap = realloc(heap, room * sizeof *heap);
        if (!heap) exit(1);
    }
    frame.order = frames++;
    size_t i = size++;
    while (i && before(&frame, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = frame;
}

static Frame pop(void) {
    Frame first = heap[0], last = heap[--size];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < size) {
        if (child + 1 < size && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return first;
}

/* When a frame that reaches this link at `time` is through; -1: lost, or the queue is full. */
static int64_t pass(Port *port, int direction, int64_t time, int length) {
    if (port->loss && random() % 1000000 < port->loss) return -1;
    int64_t start = port->busy[direction] > time ? port->busy[direction] : time;
    if (port->rate > 0) {
        if (start - time > QUEUE) return -1;
        start += (int64_t)((length + OVERHEAD) * 8.0 * SECOND / port->rate);
    }
    port->busy[direction] = start;
    return start + port->delay;
}

static void receive(int from) {
    static unsigned char data[FRAME];
    for (int i = 0; i < AT_ONCE; i++) {
        int length = (int)read(ports[from].tap, data, sizeof data);
        if (length < 14) return;
        int64_t time = pass(&ports[from], UP, now(), length);
        if (time < 0) continue;
        int everyone = data[0] & 1, only = data[5] - 1;
        for (int to = 0; to < count; to++) {
            if (to == from || (!everyone && to != only)) continue;
            unsigned char *copy = malloc(length);
            if (!copy) exit(1);
            memcpy(copy, data, length);
            push((Frame){time, 0, to, length, 0, copy});
        }
    }
}

static void deliver(void) {
    while (size && heap[0].time <= now()) {
        Frame frame = pop();
        if (frame.has_reached_receiver) {
            if (write(ports[frame.to].tap, frame.data, frame.length) < 0) { /* its device is down: lost */ }
            free(frame.data);
            continue;
        }
        frame.time = pass(&ports[frame.to], DOWN, frame.time, frame.length);
        frame.has_reached_receiver = 1;
        if (frame.time < 0) free(frame.data);
        else push(frame);
    }
}

static int open_tap(const char *space, int index, int home) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", space);
    int there = open(path, O_RDONLY);
    if (there < 0 || setns(there, CLONE_NEWNET)) { perror(path); exit(1); }
    close(there);
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {0};
    strcpy(request.ifr_name, "eth0");
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request)) { perror("/dev/net/tun"); exit(1); }
    request.ifr_hwaddr.sa_family = 1; /* Ethernet */
    memcpy(request.ifr_hwaddr.sa_data, (char[]){2, 0, 0, 0, 0, (char)(index + 1)}, 6);
    if (ioctl(tap, SIOCSIFHWADDR, &request)) { perror("address of eth0"); exit(1); }
    setns(home, CLONE_NEWNET);
    return tap;
}

int main(int argc, char **argv) {
    int home = open("/proc/self/ns/net", O_RDONLY), events = epoll_create1(0);
    count = (argc - 1) / 4;
    if (count < 1 || count > PORTS || (argc - 1) % 4) { fprintf(stderr, "usage: switch SPACE RATE DELAY LOSS ...\n"); return 2; }
    for (int i = 0; i < count; i++) {
        char **words = argv + 1 + 4 * i;
        ports[i] = (Port){open_tap(words[0], i, home), atof(words[1]), atoll(words[2]) * 1000, atoi(words[3]), {0, 0}};
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(events, EPOLL_CTL_ADD, ports[i].tap, &event);
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = PORTS};
    epoll_ctl(events, EPOLL_CTL_ADD, timer, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[PORTS];
        int found = epoll_wait(events, ready, PORTS, -1);
        for (int i = 0; i < found; i++) {
            uint64_t rings;
            if (ready[i].data.u32 < PORTS) receive((int)ready[i].data.u32);
            else if (read(timer, &rings, sizeof rings) < 0) { /* rung already */ }
        }
        deliver();
        struct itimerspec next = {0};
        if (size) next.it_value = (struct timespec){heap[0].time / SECOND, heap[0].time % SECOND};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL);
    }
}
