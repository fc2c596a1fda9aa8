/* The limit that the kernel sets: accepts WebSockets, and for each payload posted send()s one ready frame to each of them.
 *   cloop PORT [--join]
 *   POST /publish              one payload a line, one frame each
 *   POST /publish?s=S&c=C&a=A  only to those whose wish (a message "F s1,s2,.. floor actions") has symbol S, a floor of at
 *                              most C and bit A in actions: it is told whom to send to and looks at nothing else
 * With --join the frames of one request go out in one send() a connection. What a socket does not take waits in memory. */
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
#include <unistd.h>

#define SYMBOLS 4096
typedef struct { int fd, listens, place; char *in; size_t have, room; char *out; size_t waiting, written; } Conn;
typedef struct { Conn *conn; int floor, actions; } Wish;
static struct { Wish *all; int n, room; } wishes[SYMBOLS];
static Conn **listeners; static int n_listeners, room_listeners, epoll_fd, join;

static void watch(Conn *c, int how, uint32_t events) { struct epoll_event e = {.events = events, .data.ptr = c}; epoll_ctl(epoll_fd, how, c->fd, &e); }

static void put(Conn *c, const char *p, size_t n) {
    if (!c->waiting) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k == (ssize_t)n || (k < 0 && errno != EAGAIN)) return;
        if (k > 0) { p += k; n -= k; }
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    c->out = realloc(c->out, c->waiting + n); memcpy(c->out + c->waiting, p, n); c->waiting += n;
}

static void flush(Conn *c) {
    ssize_t k = send(c->fd, c->out + c->written, c->waiting - c->written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (k > 0) c->written += k;
    if (c->written == c->waiting) { free(c->out); c->out = 0; c->written = c->waiting = 0; watch(c, EPOLL_CTL_MOD, EPOLLIN); }
}

static void drop(Conn *c) {
    if (c->listens) { listeners[c->place] = listeners[--n_listeners]; listeners[c->place]->place = c->place; }
    for (int s = 0; s < SYMBOLS; s++) for (int i = 0; i < wishes[s].n;) if (wishes[s].all[i].conn == c) wishes[s].all[i] = wishes[s].all[--wishes[s].n]; else i++;
    close(c->fd); free(c->in); free(c->out); free(c);
}

static size_t frame(char *to, const char *text, size_t n) {
    size_t h = n < 126 ? 2 : 4;
    to[0] = (char)0x81;
    if (h == 2) to[1] = n; else { to[1] = 126; to[2] = n >> 8; to[3] = n; }
    memcpy(to + h, text, n); return h + n;
}

static void chosen(const char *bytes, size_t n, int symbol, int confidence, int action) {
    for (int i = 0; i < wishes[symbol].n; i++) {
        Wish *w = &wishes[symbol].all[i];
        if (confidence >= w->floor && w->actions >> action & 1) put(w->conn, bytes, n);
    }
}

static void publish(const char *query, const char *body, size_t n) {
    int symbol = -1, confidence = 0, action = 0; char *bytes = malloc(2 * n + 64); size_t size = 0;
    sscanf(query, "?s=%d&c=%d&a=%d", &symbol, &confidence, &action);
    for (const char *p = body, *end = body + n; p < end;) {
        const char *eol = memchr(p, '\n', end - p); if (!eol) eol = end;
        size += frame(bytes + size, p, eol - p); p = eol + 1;
        if (join && p < end) continue;
        if (symbol >= 0) chosen(bytes, size, symbol & (SYMBOLS - 1), confidence, action);
        else for (int i = 0; i < n_listeners; i++) put(listeners[i], bytes, size);
        size = 0;
    }
    free(bytes);
}

static void wish(Conn *c, char *text) {
    char *rest = strchr(text, ' '); int floor = 0, actions = 7;
    if (rest) { *rest++ = 0; sscanf(rest, "%d %d", &floor, &actions); }
    for (char *s = strtok(text, ","); s; s = strtok(0, ",")) {
        int at = atoi(s) & (SYMBOLS - 1);
        if (wishes[at].n == wishes[at].room) wishes[at].all = realloc(wishes[at].all, (wishes[at].room = wishes[at].room * 2 + 8) * sizeof(Wish));
        wishes[at].all[wishes[at].n++] = (Wish){c, floor, actions};
    }
    put(c, "\x81\x02OK", 4);
}

static size_t request(Conn *c) {                                          /* an HTTP request: how many bytes it had, 0: not all here */
    static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4); if (!end) return 0;
    size_t head = end + 4 - c->in, body = 0;
    if (memmem(c->in, head, "Sec-WebSocket-Key", 17)) {
        if (n_listeners == room_listeners) listeners = realloc(listeners, (room_listeners = room_listeners * 2 + 64) * sizeof *listeners);
        c->listens = 1; c->place = n_listeners; listeners[n_listeners++] = c;
        put(c, yes, sizeof yes - 1); return head;
    }
    char *length = memmem(c->in, head, "Content-Length: ", 16);
    if (length) body = atoi(length + 16);
    if (c->have < head + body) return 0;
    if (!memcmp(c->in, "POST /publish", 13)) publish(c->in + 13, c->in + head, body);
    put(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38);
    return head + body;
}

static size_t message(Conn *c) {                                          /* a client's frame */
    uint8_t *f = (uint8_t *)c->in; char text[256];
    if (c->have < 6) return 0;
    size_t n = f[1] & 127, h = 6; if (n == 126) { h = 8; n = f[2] << 8 | f[3]; }
    if (c->have < h + n) return 0;
    for (size_t i = 0; i < n && i < sizeof text - 1; i++) text[i] = f[h + i] ^ f[h - 4 + (i & 3)];
    text[n < sizeof text ? n : sizeof text - 1] = 0;
    if (n > 2 && *text == 'F') wish(c, text + 2);
    return h + n;
}

static void feed(Conn *c, const char *bytes, size_t n) {
    if (c->have + n > c->room) c->in = realloc(c->in, c->room = c->have + n + (c->have ? 65536 : 0));
    memcpy(c->in + c->have, bytes, n); c->have += n;
    for (size_t used; c->have && (used = c->listens ? message(c) : request(c)); c->have -= used) memmove(c->in, c->in + used, c->have - used);
    if (!c->have && c->listens) { free(c->in); c->in = 0; c->room = 0; }
}

static void welcome(int listener) {
    int one = 1, fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Conn *c = calloc(1, sizeof *c); c->fd = fd; watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv) {
    if (argc < 2) { fprintf(stderr, "cloop PORT [--join]\n"); return 2; }
    join = argc > 2;
    struct rlimit files; getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0); setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
    epoll_fd = epoll_create1(0);
    Conn door = {.fd = listener}; watch(&door, EPOLL_CTL_ADD, EPOLLIN);
    static char buffer[1 << 18]; struct epoll_event due[256];
    for (;;) for (int i = 0, k = epoll_wait(epoll_fd, due, 256, -1); i < k; i++) {
        Conn *c = due[i].data.ptr;
        if (c == &door) { welcome(listener); continue; }
        if (due[i].events & EPOLLOUT && c->waiting) flush(c);
        if (!(due[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n > 0) feed(c, buffer, n); else if (n == 0 || errno != EAGAIN) drop(c);
    }
}
