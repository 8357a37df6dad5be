/* One thread of one process in a world of its own: clock, random numbers and syncs of the thread that runs the simulation.

   CHAOS_SEED     what random numbers of the system are made of
   CHAOS_JOURNAL  every sync is written here as a line "INODE SIZE"; nothing is synced, because the simulation itself says
                  what a power loss leaves
   CHAOS_CLOCK    a file whose first 8 bytes say by how many nanoseconds the time of day is wrong (signed, native order)

   Time stands still while the thread works. Where it would wait, in epoll_wait or a sleep, time jumps to the end of the
   wait instead; but not while a thread is at work that does blocking work for it: one of tokio, by its name, or one without
   a name of its own. Other threads (RocksDB's) live in real time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
/* Where the two clocks begin, in seconds. */
#define DAY_START 1577836800LL
#define STEADY_START 100000LL

static int64_t passed_ns;
static const volatile int64_t *wrong_by_ns;
static int journal = -1;
static __thread uint64_t state;
static __thread signed char inside = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        void *page = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED)
            wrong_by_ns = page;
        close(fd);
    }
    if ((path = getenv("CHAOS_JOURNAL")) != NULL)
        journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Whether this is the thread of the simulation: the first of the process. */
static int is_inside(void)
{
    if (inside < 0)
        inside = syscall(SYS_gettid) == getpid();
    return inside;
}

/* SplitMix64. Each thread has the same numbers, so that it does not matter which of them asks first. */
static uint64_t next_random(void)
{
    if (state == 0) {
        const char *seed = getenv("CHAOS_SEED");
        state = 0x5851f42d4c957f2dULL ^ (seed == NULL ? 0 : strtoull(seed, NULL, 10) * 0xd1342543de82ef95ULL);
    }
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    unsigned char *to = buffer;
    (void)flags;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t number = next_random();
        memcpy(to + at, &number, length - at < 8 ? length - at : 8);
    }
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length)
{
    getrandom(buffer, length, 0);
    return 0;
}

static struct timespec from_ns(int64_t ns)
{
    struct timespec time = {.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
    return time;
}

static int64_t day_ns(void)
{
    return DAY_START * SECOND + passed_ns + (wrong_by_ns == NULL ? 0 : *wrong_by_ns);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!is_inside())
        return (int)syscall(SYS_clock_gettime, clock, time);
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        *time = from_ns(day_ns());
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        *time = from_ns(STEADY_START * SECOND + passed_ns);
        return 0;
    default:
        return (int)syscall(SYS_clock_gettime, clock, time);
    }
}

int gettimeofday(struct timeval *time, void *zone)
{
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to != NULL)
        *to = now.tv_sec;
    return now.tv_sec;
}

#define HELPERS_MAX 256
/* What a helper's status says of it: number, (name) and state. */
#define HELPER "(tokio"

/* How many threads have not begun yet, and the status files of those that may be helpers; 0: none. */
static _Atomic int unborn, statuses[HELPERS_MAX];

/* Whether the thread behind a status file does blocking work; forgets those that never will. */
static int helps(_Atomic int *status)
{
    char text[64];
    int fd = atomic_load(status);
    ssize_t length = fd <= 0 ? 0 : pread(fd, text, sizeof text - 1, 0);
    if (fd <= 0)
        return 0;
    text[length > 0 ? length : 0] = '\0';
    const char *end = strrchr(text, ')');
    if (end != NULL && (strstr(text, HELPER) != NULL || strstr(text, program_invocation_short_name) != NULL))
        return end[1] == ' ' && end[2] != 'S';
    /* It has ended, or has another name than it was born with. */
    atomic_store(status, 0);
    close(fd);
    return 0;
}

static int is_helped(void)
{
    int found = atomic_load(&unborn);
    for (int place = 0; place < HELPERS_MAX; place++)
        found += helps(&statuses[place]);
    return found > 0;
}

struct start {
    void *(*run)(void *);
    void *with;
};

/* Finds a free place. */
static int enrol(int fd)
{
    for (int place = 0, none = 0; place < HELPERS_MAX; place++, none = 0)
        if (atomic_compare_exchange_strong(&statuses[place], &none, fd))
            return 1;
    return 0;
}

static void *born(void *given)
{
    struct start start = *(struct start *)given;
    char path[64];
    free(given);
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", syscall(SYS_gettid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd <= 0 || !(enrol(fd) || (is_helped(), enrol(fd))))
        abort();
    atomic_fetch_sub(&unborn, 1);
    return start.run(start.with);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *with)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    struct start *start = malloc(sizeof *start);
    if (start == NULL)
        return EAGAIN;
    *start = (struct start){run, with};
    atomic_fetch_add(&unborn, 1);
    int failed = real(thread, how, born, start);
    if (failed) {
        atomic_fetch_sub(&unborn, 1);
        free(start);
    }
    return failed;
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    static int (*real)(int, struct epoll_event *, int, int);
    if (real == NULL)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    if (timeout_ms <= 0 || !is_inside())
        return real(fd, events, count, timeout_ms);
    int found = real(fd, events, count, 0);
    /* Twice, because one that waits for a lock for a moment looks idle. */
    for (int idle = 0; found == 0 && idle < 2;) {
        idle = is_helped() ? 0 : idle + 1;
        found = real(fd, events, count, idle == 0 ? 1 : 0);
    }
    if (found == 0)
        passed_ns += timeout_ms * 1000000LL;
    return found;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *want, struct timespec *left)
{
    if (!is_inside()) {
        int failed = (int)syscall(SYS_clock_nanosleep, clock, flags, want, left);
        return failed < 0 ? errno : 0;
    }
    int64_t ns = want->tv_sec * SECOND + want->tv_nsec;
    if (flags & TIMER_ABSTIME)
        ns -= clock == CLOCK_REALTIME ? day_ns() : STEADY_START * SECOND + passed_ns;
    passed_ns += ns > 0 ? ns : 0;
    return 0;
}

int nanosleep(const struct timespec *want, struct timespec *left)
{
    int failed = clock_nanosleep(CLOCK_MONOTONIC, 0, want, left);
    errno = failed;
    return failed == 0 ? 0 : -1;
}

int usleep(useconds_t us)
{
    struct timespec want = from_ns((int64_t)us * 1000);
    return nanosleep(&want, NULL);
}

/* Notes what would be on the disk now. */
static int note(int fd)
{
    struct stat stat;
    char line[64];
    if (journal >= 0 && fstat(fd, &stat) == 0) {
        int length = snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)stat.st_ino,
                              (long long)stat.st_size);
        if (write(journal, line, (size_t)length) != length)
            abort();
    }
    return 0;
}

int fsync(int fd)
{
    return note(fd);
}

int fdatasync(int fd)
{
    return note(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    (void)fd, (void)offset, (void)count, (void)flags;
    return 0;
}
