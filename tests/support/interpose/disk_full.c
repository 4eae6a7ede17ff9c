/*
 * Makes a server believe that the disk is full below one directory: LD_PRELOADed, as long as the file named by
 * DISK_FULL_BELOW holds a path, whatever would make a file below it longer fails with ENOSPC. Blocks that are there can
 * be written, as on a disk that is really full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name, ...) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

/* Whether there is no room for `length` bytes at `offset` of this file. */
static int is_full(int fd, off_t offset, size_t length)
{
	const char *control = getenv("DISK_FULL_BELOW");
	char below[PATH_MAX], link[64], path[PATH_MAX];
	struct stat status;
	ssize_t size;
	int file, saved = errno;

	if (control == NULL || (file = open(control, O_RDONLY | O_CLOEXEC)) < 0)
	{
		errno = saved;
		return 0;
	}
	size = read(file, below, sizeof below - 1);
	close(file);
	errno = saved;
	if (size <= 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return 0;
	below[size] = '\0';
	if (offset + (off_t) length <= status.st_size)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	size = readlink(link, path, sizeof path - 1);
	errno = saved;
	if (size <= 0)
		return 0;
	path[size] = '\0';
	return strncmp(path, below, strlen(below)) == 0 && path[strlen(below)] == '/';
}

static size_t sum(const struct iovec *parts, int count)
{
	size_t length = 0;

	for (int n = 0; n < count; n++)
		length += parts[n].iov_len;
	return length;
}

static off_t place(int fd)
{
	struct stat status;

	if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &status) == 0)
		return status.st_size;
	return lseek(fd, 0, SEEK_CUR);
}

#define REFUSE_IF(full) do { if (full) { errno = ENOSPC; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t length)
{
	REFUSE_IF(is_full(fd, place(fd), length));
	return REAL(write, fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	REFUSE_IF(is_full(fd, offset, length));
	return REAL(pwrite, fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	REFUSE_IF(is_full(fd, offset, length));
	return REAL(pwrite64, fd, data, length, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	REFUSE_IF(is_full(fd, offset, sum(parts, count)));
	return REAL(pwritev, fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	REFUSE_IF(is_full(fd, offset, sum(parts, count)));
	return REAL(pwritev64, fd, parts, count, offset);
}

/* These two return what is wrong. */
int posix_fallocate(int fd, off_t offset, off_t length)
{
	return is_full(fd, offset, length) ? ENOSPC : REAL(posix_fallocate, fd, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
	return is_full(fd, offset, length) ? ENOSPC : REAL(posix_fallocate64, fd, offset, length);
}
