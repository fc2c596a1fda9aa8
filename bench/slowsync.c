/* Every fsync takes 2 ms longer, as on a usual cloud disk: LD_PRELOAD this, built with -shared -fPIC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

static int later(int fd, const char *name)
{
    struct timespec two_ms = {0, 2000000};
    nanosleep(&two_ms, 0);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return later(fd, "fsync"); }
int fdatasync(int fd) { return later(fd, "fdatasync"); }
