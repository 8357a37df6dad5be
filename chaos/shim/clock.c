/* Stands in front of the C library's wall clock: CHAOS_CLOCK names a file of eight bytes, the nanoseconds (signed, of
   this machine's byte order) by which the clock is wrong. It may be written at any time; all processes that have
   it open see it at once.

   Monotonic clocks are right, as they are when somebody sets a clock. Waits until a time of the wall clock are
   moved with it, for the kernel does not know of the wrong one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *wrong_by;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        wrong_by = at;
    if (fd >= 0)
        close(fd);
    *(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    /* The first of its versions is another function. */
    *(void **)&real_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (real_timedwait == NULL)
        *(void **)&real_timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
}

static int64_t offset_ns(void)
{
    pthread_once(&once, prepare);
    return wrong_by == NULL ? 0 : *wrong_by;
}

static void move(struct timespec *time, int64_t ns)
{
    int64_t nanoseconds = time->tv_nsec + ns % 1000000000;
    time->tv_sec += ns / 1000000000;
    if (nanoseconds < 0) {
        nanoseconds += 1000000000;
        time->tv_sec -= 1;
    } else if (nanoseconds >= 1000000000) {
        nanoseconds -= 1000000000;
        time->tv_sec += 1;
    }
    time->tv_nsec = nanoseconds;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int64_t ns = offset_ns();
    int result = real_gettime(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        move(time, ns);
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec moved = *until;
    move(&moved, -offset_ns());
    return real_timedwait(condition, mutex, &moved);
}
