/* A disk whose sync takes so long as SLOW_SYNC_MS says, for a program that is started with this library preloaded: what a volume in a
 * cloud gives. See tests/slow_disk.sh. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int slow(const char *name, int fd)
{
    const char *told = getenv("SLOW_SYNC_MS");
    double ms = told ? atof(told) : 0;
    struct timespec wait = { (time_t)(ms / 1000), (long)((ms - 1000 * (long)(ms / 1000)) * 1e6) };
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    nanosleep(&wait, NULL);
    return sync(fd);
}

int fsync(int fd)
{
    return slow("fsync", fd);
}

int fdatasync(int fd)
{
    return slow("fdatasync", fd);
}
