/* The subscribers: many WebSocket connections in one epoll loop, on a core of their own; never the limit of a measurement.
 *   load PORT CONNECTIONS WANTED SECONDS OPTION=VALUE...
 * Options: path=  header=  protocol=  hello=TEXT (sent after the upgrade; TAB between messages)  hellos=FILE (line i for
 * connection i)  ready=TEXT (in the frame that says "subscribed"; without it the upgrade is enough)  ping= pong= (of the
 * application's own)  binary=1  at_once=N (connections that may be opening)  stalled=N stall_s=S (the first N are not read
 * for S seconds)  from=N through=N (only these numbers count)  marks=FILE (count and sum of the numbers of each
 * connection).  \r and \n in a value are those bytes.
 *
 * A delivery is `"t":"<19 digits>","n":<number>` anywhere in a text frame: when it was sent, in ns, and which one it was.
 * Prints "ready {...}" when all are subscribed, and at the end what came: deliveries, duplicated, reordered, others (frames
 * without a signal), percentiles of the time from publish to receive (without the stalled). That is when WANTED have come,
 * SECONDS after it was ready, or when no connection is left; the others stay open until it is told to end, 30 s at most. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum State { CONNECTING, UPGRADING, SUBSCRIBING, LIVE, GONE };
typedef struct {
    int fd, index; enum State state;
    uint8_t *held; size_t have, room;       /* the beginning of a frame whose rest has not come */
    uint8_t *seen; size_t seen_bytes;       /* a bit for each number that came */
    uint64_t count, sum, last;
} Conn;

static int port, wanted_conns, live, failed, closed, opening, announced, stalled, epoll_fd, opcode = 1, at_once = 256;
static double seconds_max, stall_s;
static uint64_t from, through = UINT64_MAX; static uint64_t wanted, deliveries, duplicated, reordered, others, bytes, arrived, first_ns, last_ns;
static const char *path = "/", *header = "", *protocol, *hello, *ready, *ping, *pong, *marks; static char **hellos; static int n_hellos;
static uint32_t *lat; static size_t n_lat, room_lat;
static volatile sig_atomic_t stop;

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void die(const char *why) { perror(why); exit(1); }
static void on_signal(int s) { (void)s; stop = 1; }

static void gone(Conn *c, const char *why) {
    if (closed + failed < 5) fprintf(stderr, "connection %d: %s\n", c->index, why);
    if (c->state == LIVE) closed++; else { failed++; opening--; }
    close(c->fd); c->state = GONE; free(c->held); c->held = 0; c->have = c->room = 0;
}

static void say(Conn *c, int op, const char *text, size_t n) {          /* one masked frame with a zero mask */
    size_t h = n < 126 ? 2 : 4; uint8_t *frame = calloc(1, n + 8);
    if (n > 65535) { fprintf(stderr, "a message of %zu bytes is too long\n", n); exit(1); }
    frame[0] = 0x80 | op;
    if (h == 2) frame[1] = 0x80 | n; else { frame[1] = 0xfe; frame[2] = n >> 8; frame[3] = n; }
    memcpy(frame + h + 4, text, n);
    if (send(c->fd, frame, h + 4 + n, MSG_NOSIGNAL) != (ssize_t)(h + 4 + n)) gone(c, "cannot send");
    free(frame);
}

static void is_live(Conn *c) { if (c->state == SUBSCRIBING) { c->state = LIVE; live++; opening--; } }

static void mark(Conn *c, uint64_t number) {
    if (number / 8 >= c->seen_bytes) {
        size_t grown = (number / 8 + 64) * 2;
        c->seen = realloc(c->seen, grown); memset(c->seen + c->seen_bytes, 0, grown - c->seen_bytes); c->seen_bytes = grown;
    }
    if (c->seen[number / 8] >> number % 8 & 1) { duplicated++; return; }
    c->seen[number / 8] |= 1 << number % 8;
    if (number < c->last) reordered++;
    c->last = number; c->count++; c->sum += number; deliveries++;
    if (!first_ns) first_ns = arrived;
    last_ns = arrived;
}

static void took(uint64_t sent) {
    if (n_lat == room_lat) { room_lat = room_lat ? room_lat * 2 : 1 << 20; lat = realloc(lat, room_lat * sizeof *lat); }
    uint64_t tenths = arrived > sent ? (arrived - sent) / 100 : 0;      /* of a microsecond */
    lat[n_lat++] = tenths > UINT32_MAX ? UINT32_MAX : tenths;
}

static void deliveries_in(Conn *c, const char *p, const char *end) {
    while ((p = memmem(p, end - p, "\"t\":\"", 5))) {
        p += 5;
        if (end - p < 26 || p[19] != '"' || memcmp(p + 20, ",\"n\":", 5)) continue;
        uint64_t sent = 0, number = 0;
        for (int i = 0; i < 19; i++) sent = sent * 10 + (p[i] - '0');
        for (p += 25; p < end && *p >= '0' && *p <= '9'; p++) number = number * 10 + (*p - '0');
        if (number < from || number > through) continue;
        mark(c, number);
        if (c->index >= stalled) took(sent);
    }
}

static void pings_in(Conn *c, const char *p, size_t n) {                /* a ping of its own, or a line of a joined frame */
    size_t k = strlen(ping);
    if (n >= k && !memcmp(p, ping, k) && (n == k || p[k] == '\n' || ping[k - 1] == '\n')) say(c, opcode, pong, strlen(pong));
    else if (n > k && p[n - k - 1] == '\n' && !memcmp(p + n - k, ping, k)) say(c, opcode, pong, strlen(pong));
}

static void frame(Conn *c, int head, const char *p, size_t n) {
    int op = head & 15;
    if (!(head & 0x80) || op == 0) { fprintf(stderr, "a fragmented message; not foreseen\n"); exit(1); }
    if (op == 8) { gone(c, n > 2 ? "closed by the server, with a reason" : "closed by the server"); return; }
    if (op == 9) { say(c, 10, p, n); return; }
    if (op > 2) return;
    if (c->state == SUBSCRIBING && memmem(p, n, ready, strlen(ready))) is_live(c);
    if (ping) pings_in(c, p, n);
    uint64_t had = deliveries + duplicated;
    if (c->state != GONE) deliveries_in(c, p, p + n);
    if (announced && had == deliveries + duplicated) others++;
}

static void upgraded(Conn *c) {
    const char *text = n_hellos ? hellos[c->index % n_hellos] : hello;
    c->state = SUBSCRIBING;
    while (text && c->state != GONE) {
        const char *tab = strchr(text, '\t');
        say(c, opcode, text, tab ? (size_t)(tab - text) : strlen(text));
        text = tab ? tab + 1 : 0;
    }
    if (!ready && c->state != GONE) is_live(c);
}

static size_t whole_frames(Conn *c, const uint8_t *data, size_t n) {    /* how many bytes were used */
    size_t at = 0;
    if (c->state == UPGRADING) {
        const uint8_t *end = memmem(data, n, "\r\n\r\n", 4);
        if (!end) return 0;
        if (memcmp(data, "HTTP/1.1 101", 12)) { fprintf(stderr, "%.200s\n", data); gone(c, "not upgraded"); return n; }
        at = end + 4 - data;
        upgraded(c);
    }
    while (c->state != GONE && n - at >= 2) {
        const uint8_t *f = data + at; size_t h = 2; uint64_t len = f[1] & 127;
        h += len == 126 ? 2 : len == 127 ? 8 : 0;
        if (n - at < h) break;
        if (h > 2) { len = 0; for (size_t i = 2; i < h; i++) len = len << 8 | f[i]; }
        if (n - at - h < len) break;
        frame(c, f[0], (const char *)f + h, len);
        at += h + len;
    }
    return at;
}

static void feed(Conn *c, const uint8_t *data, size_t n) {
    if (c->have) {
        if (c->have + n > c->room) c->held = realloc(c->held, c->room = (c->have + n) * 2);
        memcpy(c->held + c->have, data, n);
        data = c->held; n += c->have;
    }
    size_t used = whole_frames(c, data, n), rest = n - used;
    if (c->state == GONE) return;
    if (!rest) { free(c->held); c->held = 0; c->room = 0; }
    else if (data == c->held) memmove(c->held, data + used, rest);
    else { c->held = realloc(c->held, c->room = rest); memcpy(c->held, data + used, rest); }
    c->have = rest;
}

static void readable(Conn *c) {
    static uint8_t buffer[1 << 18];
    for (;;) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { gone(c, n ? strerror(errno) : "ended by the server"); return; }
        arrived = now_ns(); bytes += n;
        feed(c, buffer, n);
        if (n < (ssize_t)sizeof buffer || c->state == GONE) return;
    }
}

static void watch(Conn *c, int how, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, how, c->fd, &e)) die("epoll_ctl");
}

static void dial(Conn *c, int index) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->index = index; opening++;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&at, sizeof at) && errno != EINPROGRESS) { gone(c, strerror(errno)); return; }
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void connected(Conn *c) {
    char ask[2048]; int error = 0; socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { gone(c, strerror(error)); return; }
    int n = snprintf(ask, sizeof ask, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s%s%s\r\n", path, port,
        protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "", protocol ? "\r\n" : "", header, *header ? "\r\n" : "");
    if (send(c->fd, ask, n, MSG_NOSIGNAL) != n) { gone(c, "cannot ask for the upgrade"); return; }
    c->state = UPGRADING;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static const char *unescaped(const char *s) {
    char *out = strdup(s), *w = out;
    for (; *s; s++) if (*s == '\\' && (s[1] == 'r' || s[1] == 'n')) *w++ = *++s == 'r' ? '\r' : '\n'; else *w++ = *s;
    *w = 0; return out;
}

static void lines_of(const char *file) {
    FILE *f = fopen(file, "r"); char *line = 0; size_t room = 0; ssize_t n;
    if (!f) die(file);
    while ((n = getline(&line, &room, f)) > 0) {
        if (line[n - 1] == '\n') line[n - 1] = 0;
        hellos = realloc(hellos, (n_hellos + 1) * sizeof *hellos); hellos[n_hellos++] = (char *)unescaped(line);
    }
    fclose(f); free(line);
}

static void option(const char *name) {
    const char *value = strchr(name, '='); size_t k = value ? (size_t)(value - name) : 0;
    #define IS(word) (k == strlen(word) && !memcmp(name, word, k))
    value = value ? unescaped(value + 1) : "";
    if (IS("path")) path = value; else if (IS("header")) header = value; else if (IS("protocol")) protocol = value;
    else if (IS("hello")) hello = value; else if (IS("hellos")) lines_of(value); else if (IS("ready")) ready = value;
    else if (IS("ping")) ping = value; else if (IS("pong")) pong = value; else if (IS("binary")) opcode = 2;
    else if (IS("at_once")) at_once = atoi(value); else if (IS("stalled")) stalled = atoi(value);
    else if (IS("stall_s")) stall_s = atof(value); else if (IS("marks")) marks = value;
    else if (IS("from")) from = strtoull(value, 0, 10); else if (IS("through")) through = strtoull(value, 0, 10);
    else { fprintf(stderr, "what is %s?\n", name); exit(2); }
}

static int by_size(const void *a, const void *b) { uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b; return (x > y) - (x < y); }
static double percentile(double q) { return n_lat ? lat[(size_t)(q * (n_lat - 1))] / 10.0 : 0; }

static void write_marks(Conn *conns) {
    FILE *f = fopen(marks, "w"); if (!f) die(marks);
    for (int i = 0; i < wanted_conns; i++) fprintf(f, "%lu %lu\n", conns[i].count, conns[i].sum);
    fclose(f);
}

static void report(double open_s) {
    struct rusage used; getrusage(RUSAGE_SELF, &used);
    qsort(lat, n_lat, sizeof *lat, by_size);
    printf("{\"open\":%d,\"failed\":%d,\"closed\":%d,\"open_s\":%.3f,\"deliveries\":%lu,\"duplicated\":%lu,\"reordered\":%lu,\"others\":%lu,\"bytes\":%lu,"
        "\"first_ns\":%lu,\"last_ns\":%lu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"client_cpu_s\":%.3f}\n",
        live, failed, closed, open_s, deliveries, duplicated, reordered, others, bytes, first_ns, last_ns, percentile(.5), percentile(.99),
        percentile(.999), percentile(1), used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 5) { fprintf(stderr, "load PORT CONNECTIONS WANTED SECONDS OPTION=VALUE...\n"); return 2; }
    port = atoi(argv[1]); wanted_conns = atoi(argv[2]); wanted = strtoull(argv[3], 0, 10); seconds_max = atof(argv[4]);
    for (int i = 5; i < argc; i++) option(argv[i]);
    struct rlimit files; getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGTERM, on_signal); signal(SIGINT, on_signal);
    epoll_fd = epoll_create1(0);
    Conn *conns = calloc(wanted_conns, sizeof *conns); int dialled = 0, asleep = 0;
    struct epoll_event due[512]; uint64_t began = now_ns(), opened = 0;
    while (!stop) {
        while (dialled < wanted_conns && opening < at_once) { dial(&conns[dialled], dialled); dialled++; }
        int k = epoll_wait(epoll_fd, due, 512, 20);
        for (int i = 0; i < k; i++) {
            Conn *c = due[i].data.ptr;
            if (c->state == CONNECTING) connected(c); else if (c->state != GONE) readable(c);
        }
        uint64_t t = now_ns();
        if (!announced && (live + failed + closed >= wanted_conns || (t - began) / 1e9 > seconds_max)) {
            announced = 1; opened = t;
            printf("ready {\"open\":%d,\"failed\":%d,\"open_s\":%.3f}\n", live, failed + closed, (opened - began) / 1e9); fflush(stdout);
            for (int i = 0; i < stalled; i++) if (conns[i].state == LIVE) watch(&conns[i], EPOLL_CTL_MOD, 0);
            asleep = stalled;
        }
        if (asleep && (t - opened) / 1e9 > stall_s) { for (int i = 0; i < stalled; i++) if (conns[i].state == LIVE) watch(&conns[i], EPOLL_CTL_MOD, EPOLLIN); asleep = 0; }
        if (announced && closed + failed >= wanted_conns) break;                 /* nothing more can come */
        if (announced && ((wanted && deliveries >= wanted) || (t - opened) / 1e9 > seconds_max)) break;
    }
    if (marks) write_marks(conns);
    report((opened - began) / 1e9);
    for (int i = 0; i < 600 && !stop; i++) usleep(50000);      /* what the server pays for closing is not to be counted */
    return 0;
}
