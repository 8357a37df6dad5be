/* Stands in front of the C library's sync calls for files under CHAOS_FOLDER.

   CHAOS_TRIGGER  once this file exists, syncs fail with EIO and sync nothing, as on a disk that has gone bad
   CHAOS_JOURNAL  every sync that succeeded is written here as a line "NANOSECONDS SIZE INODE PATH": the time
                  (since 1970) and the size of the file when the call began
   CHAOS_DELAY    as long as this file exists, each sync takes so many milliseconds longer as it says
   CHAOS_SKIP     syncs of files whose path ends so are left out and yet succeed: a planted bug */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum what { PASS, FAIL, SKIP };

struct call {
    enum what what;
    char line[4352];
};

static int ends_with(const char *path, const char *end)
{
    size_t a = strlen(path), b = strlen(end);
    return a >= b && strcmp(path + a - b, end) == 0;
}

/* A slow disk: waits before the real call. */
static void hold_back(void)
{
    const char *delay = getenv("CHAOS_DELAY");
    char text[16] = "";
    int fd = delay == NULL ? -1 : open(delay, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) > 0)
        usleep((useconds_t)atoi(text) * 1000);
    close(fd);
}

/* Decides, and notes the time and size before the real call. */
static void begin(int fd, struct call *call)
{
    const char *folder = getenv("CHAOS_FOLDER"), *trigger = getenv("CHAOS_TRIGGER"), *skip = getenv("CHAOS_SKIP");
    char link[64], path[4096];
    struct stat stat;
    struct timespec now;
    int saved = errno;
    call->what = PASS;
    call->line[0] = '\0';
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = folder == NULL ? -1 : readlink(link, path, sizeof path - 1);
    if (length >= 0) {
        path[length] = '\0';
        if (strncmp(path, folder, strlen(folder)) == 0) {
            hold_back();
            if (trigger != NULL && access(trigger, F_OK) == 0)
                call->what = FAIL;
            else if (skip != NULL && ends_with(path, skip))
                call->what = SKIP;
            else if (fstat(fd, &stat) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0)
                snprintf(call->line, sizeof call->line, "%lld%09ld %lld %llu %s\n", (long long)now.tv_sec,
                         now.tv_nsec, (long long)stat.st_size, (unsigned long long)stat.st_ino, path);
        }
    }
    errno = saved;
}

/* Writes down what succeeded. */
static int end(int result, const struct call *call)
{
    const char *journal = getenv("CHAOS_JOURNAL");
    int saved = errno;
    if (result == 0 && journal != NULL && call->line[0] != '\0') {
        int fd = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        size_t length = strlen(call->line);
        if (fd < 0 || write(fd, call->line, length) != (ssize_t)length)
            abort();
        close(fd);
    }
    errno = saved;
    return result;
}

static int failure(void)
{
    errno = EIO;
    return -1;
}

typedef int sync_call(int);

static int sync_by(const char *name, int fd)
{
    struct call call;
    begin(fd, &call);
    switch (call.what) {
    case FAIL:
        return failure();
    case SKIP:
        return 0;
    default:
        return end(((sync_call *)dlsym(RTLD_NEXT, name))(fd), &call);
    }
}

int fsync(int fd)
{
    return sync_by("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_by("fdatasync", fd);
}

int syncfs(int fd)
{
    return sync_by("syncfs", fd);
}

/* Never makes anything durable by itself, so it is not written down. */
int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    struct call call;
    int (*real)(int, off64_t, off64_t, unsigned int) =
        (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    begin(fd, &call);
    return call.what == FAIL ? failure() : real(fd, offset, count, flags);
}
