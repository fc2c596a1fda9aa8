/* The publisher: sends requests that were written beforehand, and counts the answers.
 *   publish PORT REQUESTS ANSWERS OPTION=VALUE...
 * REQUESTS is a file of (uint32 length, bytes); in each, every run of 19 `@` becomes the time of sending, in ns, and
 * `LINK` the four digits of the connection. ANSWERS is how many answers all of them have.
 * Options: rate=R  (open loop: R requests a second on one connection, whatever is answered)
 *          window=W connections=C  (closed loop: at most W unanswered on each)
 *          answer=TEXT  refusal=TEXT  (how to know them)  before=FILE (bytes each connection begins with)
 *          wait_s=S  (for the last answers)
 * A request of several answers counts as one in the window. Prints JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_MAX 65536
typedef struct { char *bytes; uint32_t size; } Request;
typedef struct { int fd; unsigned index; uint64_t sent, answered; char tail[64]; size_t have; uint64_t *when; } Link;

static Request *requests; static size_t n_requests;
static const char *answer = "HTTP/1.1 200", *refusal = "HTTP/1.1 4", *before; static char sample[256];
static uint64_t refused, last_answer, latest; static uint32_t *lat; static size_t n_lat;

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void die(const char *why) { perror(why); exit(1); }

static void load(const char *file) {
    FILE *f = fopen(file, "rb"); uint32_t size;
    if (!f) die(file);
    for (size_t room = 0; fread(&size, 4, 1, f) == 1; n_requests++) {
        if (n_requests == room) requests = realloc(requests, (room = room ? room * 2 : 1024) * sizeof *requests);
        requests[n_requests] = (Request){malloc(size), size};
        if (fread(requests[n_requests].bytes, 1, size, f) != size) die("a request is cut off");
    }
    fclose(f);
}

static void fill(char *p, size_t n, const char *mark, const char *with) {
    size_t k = strlen(mark); char *end = p + n;
    while ((p = memmem(p, end - p, mark, k))) { memcpy(p, with, k); p += k; }
}

static void send_all(Link *c, const char *p, size_t n) {
    while (n) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) die("the server does not take it");
        p += k; n -= k;
    }
}

static void send_request(Link *c, size_t i) {
    char time[24], name[8];
    snprintf(name, sizeof name, "%04u", c->index % 10000u);
    fill(requests[i].bytes, requests[i].size, "LINK", name);
    snprintf(time, sizeof time, "%019lu", now_ns());
    fill(requests[i].bytes, requests[i].size, "@@@@@@@@@@@@@@@@@@@", time);
    send_all(c, requests[i].bytes, requests[i].size);
    c->sent++;
}

static int answers(Link *c) {                                            /* how many came; dies with the connection */
    static char buffer[1 << 18];
    memcpy(buffer, c->tail, c->have);
    ssize_t n = recv(c->fd, buffer + c->have, sizeof buffer - c->have, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) die("the server closed the publisher");
    if (!*sample) memcpy(sample, buffer + c->have, n < 200 ? n : 200);
    char *end = buffer + c->have + n, *done = buffer, *p = buffer; int found = 0;
    while ((p = memmem(p, end - p, answer, strlen(answer)))) { found++; done = p += strlen(answer); }
    for (p = done; (p = memmem(p, end - p, refusal, strlen(refusal))); p += strlen(refusal)) { refused++; memcpy(sample, p, end - p < 200 ? end - p : 200); done = p + strlen(refusal); }
    size_t keep = strlen(answer) - 1;
    c->have = (size_t)(end - done) < keep ? (size_t)(end - done) : keep;
    memmove(c->tail, end - c->have, c->have);
    c->answered += found;
    if (found) last_answer = now_ns();
    return found;
}

static void dial(Link *c, int port, int index, size_t window) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1; char bytes[65536], name[8];
    c->index = index; c->when = calloc(window + 1, sizeof *c->when);
    if ((c->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || connect(c->fd, (void *)&at, sizeof at)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!before) return;
    FILE *f = fopen(before, "rb"); if (!f) die(before);
    size_t n = fread(bytes, 1, sizeof bytes, f); fclose(f);
    snprintf(name, sizeof name, "%04u", index % 10000u); fill(bytes, n, "LINK", name);
    send_all(c, bytes, n); usleep(100000);
    if (recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0) die("no greeting");
}

static void open_loop(Link *c, double rate) {
    uint64_t began = now_ns();
    for (size_t i = 0; i < n_requests; i++) {
        uint64_t due = began + i * 1e9 / rate, t;
        while ((t = now_ns()) < due) { uint64_t left = due - t; struct timespec nap = {0, left > 2000000 ? 2000000 : left}; nanosleep(&nap, 0); answers(c); }
        if (t - due > latest) latest = t - due;
        send_request(c, i); answers(c);
    }
}

static void closed_loop(Link *links, int n, size_t window, uint64_t per, double wait_s) {
    struct pollfd *fds = calloc(n, sizeof *fds); size_t next = 0, done = 0;
    for (int i = 0; i < n; i++) fds[i] = (struct pollfd){links[i].fd, POLLIN, 0};
    while (done < n_requests * per) {
        for (int i = 0; i < n; i++) for (Link *c = &links[i]; next < n_requests && c->sent - c->answered / per < window; next++) { c->when[c->sent % window] = now_ns(); send_request(c, next); }
        if (poll(fds, n, wait_s * 1e3) <= 0) return;
        for (int i = 0; i < n; i++) if (fds[i].revents) {
            Link *c = &links[i]; uint64_t had = c->answered / per; int found = answers(c); uint64_t t = now_ns();
            done += found;
            for (uint64_t k = had; k < c->answered / per && n_lat < n_requests; k++) lat[n_lat++] = (t - c->when[k % window]) / 100;
        }
        if (refused) return;
    }
}

static int by_size(const void *a, const void *b) { uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b; return (x > y) - (x < y); }
static double percentile(double q) { return n_lat ? lat[(size_t)(q * (n_lat - 1))] / 10.0 : 0; }

int main(int argc, char **argv) {
    if (argc < 4) { fprintf(stderr, "publish PORT REQUESTS ANSWERS OPTION=VALUE...\n"); return 2; }
    double rate = 0, wait_s = 10; int connections = 1; size_t window = 1; uint64_t wanted = strtoull(argv[3], 0, 10), answered = 0;
    for (int i = 4; i < argc; i++) {
        char *value = strchr(argv[i], '='); if (!value) return 2; *value++ = 0;
        if (!strcmp(argv[i], "rate")) rate = atof(value); else if (!strcmp(argv[i], "window")) window = atoi(value);
        else if (!strcmp(argv[i], "connections")) connections = atoi(value); else if (!strcmp(argv[i], "answer")) answer = value;
        else if (!strcmp(argv[i], "refusal")) refusal = value; else if (!strcmp(argv[i], "before")) before = value;
        else if (!strcmp(argv[i], "wait_s")) wait_s = atof(value); else { fprintf(stderr, "what is %s?\n", argv[i]); return 2; }
    }
    if (window > WINDOW_MAX) return 2;
    load(argv[2]); lat = calloc(n_requests + 1, sizeof *lat);
    Link *links = calloc(connections, sizeof *links);
    for (int i = 0; i < connections; i++) dial(&links[i], atoi(argv[1]), i, window);
    uint64_t began = now_ns();
    if (rate > 0) open_loop(links, rate); else closed_loop(links, connections, window, wanted / n_requests, wait_s);
    for (double until = now_ns() + wait_s * 1e9; rate > 0 && links->answered < wanted && !refused && now_ns() < until;) { struct pollfd fd = {links->fd, POLLIN, 0}; poll(&fd, 1, 50); answers(links); }
    for (int i = 0; i < connections; i++) answered += links[i].answered;
    qsort(lat, n_lat, sizeof *lat, by_size);
    for (char *p = sample; *p; p++) if (*p < 32 || *p > 126 || *p == '"' || *p == '\\') *p = ' ';
    printf("{\"requests\":%zu,\"answered\":%lu,\"refused\":%lu,\"first_ns\":%lu,\"took_s\":%.6f,\"late_us\":%.1f,\"answer_p50_us\":%.1f,\"answer_p99_us\":%.1f,\"answer\":\"%s\"}\n",
        n_requests, answered, refused, began, ((last_answer ? last_answer : now_ns()) - began) / 1e9, latest / 1e3, percentile(.5), percentile(.99), sample);
    return 0;
}
