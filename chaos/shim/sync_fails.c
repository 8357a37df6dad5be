/* Stands in front of the C library's sync calls. Once the file CHAOS_TRIGGER exists, those on files under
   CHAOS_FOLDER fail with EIO and sync nothing, as a disk does that has gone bad. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int fails(int fd)
{
    const char *folder = getenv("CHAOS_FOLDER"), *trigger = getenv("CHAOS_TRIGGER");
    char link[64], path[4096];
    int saved = errno;
    if (folder == NULL || trigger == NULL || access(trigger, F_OK) != 0) {
        errno = saved;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0)
        return 0;
    path[length] = '\0';
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int failure(void)
{
    errno = EIO;
    return -1;
}

int fsync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? failure() : real(fd);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? failure() : real(fd);
}

int syncfs(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "syncfs");
    return fails(fd) ? failure() : real(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    static int (*real)(int, off64_t, off64_t, unsigned int);
    if (real == NULL)
        real = (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    return fails(fd) ? failure() : real(fd, offset, count, flags);
}
