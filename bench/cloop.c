/* The physical limit: a bare send() of one ready frame for each connection, nothing else.
 *   cloop PORT CONNECTIONS FRAMES RATE BYTES JOIN
 * Accepts CONNECTIONS WebSocket handshakes, waits for a line on standard input, sends FRAMES frames of BYTES payload to
 * each at RATE a second, JOIN of them in one send(), and prints {"cpu_s":...,"sends":...} for that part alone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double cpu(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec / 1e9; }

static int greet(int listener) {
    char ask[4096]; int one = 1, fd = accept(listener, 0, 0), have = 0;
    if (fd < 0) { perror("accept"); exit(1); }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (!memmem(ask, have, "\r\n\r\n", 4)) { int n = recv(fd, ask + have, sizeof ask - have, 0); if (n <= 0) exit(1); have += n; }
    static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    send(fd, yes, sizeof yes - 1, MSG_NOSIGNAL);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 7) { fprintf(stderr, "cloop PORT CONNECTIONS FRAMES RATE BYTES JOIN\n"); return 2; }
    int port = atoi(argv[1]), conns = atoi(argv[2]), frames = atoi(argv[3]), bytes = atoi(argv[5]), join = atoi(argv[6]), one = 1;
    double rate = atof(argv[4]);
    struct rlimit files; getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0); setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) { perror("bind"); return 1; }
    printf("listening\n"); fflush(stdout);
    int *fds = malloc(conns * sizeof *fds); for (int i = 0; i < conns; i++) fds[i] = greet(listener);
    size_t size = bytes + 4; char *data = malloc(size * join), line[16];
    for (int j = 0; j < join; j++) {
        char *f = data + j * size; f[0] = (char)0x81; f[1] = 126; f[2] = bytes >> 8; f[3] = bytes; memset(f + 4, 'x', bytes);
    }
    if (!fgets(line, sizeof line, stdin)) return 1;
    double began = now(), used = cpu(); long sends = 0;
    for (int n = 0; n < frames; n += join) {
        double wait = began + n / rate - now(); if (wait > 0) usleep(wait * 1e6);
        for (int i = 0; i < conns; i++) { if (send(fds[i], data, size * join, MSG_NOSIGNAL) < 0) { perror("send"); return 1; } sends++; }
    }
    printf("{\"cpu_s\":%.6f,\"sends\":%ld,\"took_s\":%.3f}\n", cpu() - used, sends, now() - began);
    fflush(stdout); if (!fgets(line, sizeof line, stdin)) return 0;
    return 0;
}
