/* Reads WebSocket messages on many connections and counts them; never the limit of a measurement.
 *   sink PORT CONNECTIONS FRAMES_WANTED SECONDS_MAX [HEADER [MESSAGE [ack]]]
 * Each connection upgrades at /v1/ws with HEADER and sends MESSAGE once. Prints "ready" when every one of them got
 * a text frame holding "subscribed" (or, without MESSAGE, its 101), then {"frames":...,"open_s":...} at the end.
 * Only frames that hold "signal.published" count when MESSAGE is given. With `ack` each connection acknowledges once a
 * second how far it has read, at a moment of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { int fd, upgraded, ready, have; uint64_t skip, seq, acked; double acked_at; char head[4096]; } Conn;

static int port, wanted_conns, ready_conns, epoll_fd;
static uint64_t counted, acks;
static int acking;
static const char *header = "X-Bench: 1", *hello;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void die(const char *why) { perror(why); exit(1); }

static void say(Conn *c, const char *text) {            /* one masked text frame with a zero mask */
    size_t n = strlen(text), h = n < 126 ? 2 : 4;
    char *frame = calloc(1, n + 8);
    frame[0] = (char)0x81;
    if (n < 126) frame[1] = 0x80 | n; else { frame[1] = (char)0xfe; frame[2] = n >> 8; frame[3] = n; }
    memcpy(frame + h + 4, text, n);
    if (send(c->fd, frame, h + 4 + n, MSG_NOSIGNAL) < 0) die("send");
    free(frame);
}

static void dial(Conn *c) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1; char ask[1024];
    if ((c->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || connect(c->fd, (void *)&at, sizeof at)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int n = snprintf(ask, sizeof ask, "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n\r\n", port, header);
    if (send(c->fd, ask, n, MSG_NOSIGNAL) != n) die("handshake");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static void frame(Conn *c, const char *payload, size_t n) {
    if (!c->ready && hello && memmem(payload, n, "\"subscribed\"", 12)) { c->ready = 1; ready_conns++; }
    else if (!hello || memmem(payload, n, "\"signal.published\"", 18)) {
        counted++;
        const char *seq = acking ? memmem(payload, n, "\"seq\":", 6) : 0;
        if (seq) c->seq = strtoull(seq + 6, 0, 10);
    }
}

static void acknowledge(Conn *c) {
    char text[128];
    if (c->seq == c->acked || now() - c->acked_at < 1) return;
    snprintf(text, sizeof text, "{\"type\":\"ack\",\"channel\":\"main\",\"through\":%lu}", c->seq);
    say(c, text);
    c->acked = c->seq; c->acked_at = now(); acks++;
}

static void feed(Conn *c, char *p, size_t n) {
    while (n) {
        if (c->skip) { size_t k = n < c->skip ? n : c->skip; c->skip -= k; p += k; n -= k; continue; }
        size_t k = sizeof c->head - 1 - c->have; if (k > n) k = n;
        memcpy(c->head + c->have, p, k); c->have += k; p += k; n -= k; c->head[c->have] = 0;
        for (;;) {
            if (!c->upgraded) {
                char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
                if (!end) break;
                if (strncmp(c->head, "HTTP/1.1 101", 12)) { fprintf(stderr, "refused: %.200s\n", c->head); exit(1); }
                c->have -= end + 4 - c->head; memmove(c->head, end + 4, c->have);
                c->upgraded = 1;
                if (hello) say(c, hello); else { c->ready = 1; ready_conns++; }
            }
            if (c->have < 2) break;
            size_t h = 2, len = c->head[1] & 127;
            if (len == 126) { if (c->have < 4) break; h = 4; len = (uint8_t)c->head[2] << 8 | (uint8_t)c->head[3]; }
            if (len == 127) { if (c->have < 10) break; h = 10; len = 0; for (int i = 2; i < 10; i++) len = len << 8 | (uint8_t)c->head[i]; }
            size_t here = c->have - h < len ? c->have - h : len;
            if (here < len && h + len < sizeof c->head) break;       /* the rest will come and fit */
            if ((c->head[0] & 15) == 1) frame(c, c->head + h, here);
            c->skip = len - here; c->have -= h + here; memmove(c->head, c->head + h + here, c->have);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 5) { fprintf(stderr, "sink PORT CONNECTIONS FRAMES_WANTED SECONDS_MAX [HEADER [MESSAGE [ack]]]\n"); return 2; }
    port = atoi(argv[1]); wanted_conns = atoi(argv[2]);
    uint64_t wanted = strtoull(argv[3], 0, 10); double seconds_max = atof(argv[4]);
    if (argc > 5) header = argv[5];
    if (argc > 6) hello = argv[6];
    acking = argc > 7 && !strcmp(argv[7], "ack");
    struct rlimit files; getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    Conn *conns = calloc(wanted_conns, sizeof *conns); int dialled = 0, announced = 0;
    static char buffer[1 << 18]; struct epoll_event due[256]; double began = now(), opened = 0;
    while (now() - began < seconds_max && !(announced && counted >= wanted)) {
        while (dialled < wanted_conns && dialled < ready_conns + 64) { conns[dialled].acked_at = now() - (double)dialled / wanted_conns; dial(&conns[dialled++]); }
        int k = epoll_wait(epoll_fd, due, 256, 50);
        for (int i = 0; i < k; i++) {
            Conn *c = due[i].data.ptr; ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
            if (n <= 0) { fprintf(stderr, "a connection was closed: %s\n", n ? strerror(errno) : "eof"); return 1; }
            feed(c, buffer, n);
            if (acking) acknowledge(c);
        }
        if (!announced && ready_conns == wanted_conns) { announced = 1; opened = now() - began; printf("ready\n"); fflush(stdout); }
    }
    printf("{\"frames\":%lu,\"open_s\":%.3f,\"took_s\":%.3f,\"acks\":%lu}\n", counted, opened, now() - began - opened, acks);
    return counted >= wanted ? 0 : 1;
}
