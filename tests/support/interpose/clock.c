/*
 * Sets the clock of a server alone: LD_PRELOADed, it adds to the time of day the microseconds that stand, as 8 bytes, in
 * the file named by CLOCK_OFFSET. Clocks that nobody can set (CLOCK_MONOTONIC, CLOCK_BOOTTIME) go on as they are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void attach(void)
{
	const char *path = getenv("CLOCK_OFFSET");
	int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (file >= 0)
	{
		void *mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);

		if (mapped != MAP_FAILED)
			offset = mapped;
		close(file);
	}
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int result = (int) syscall(SYS_clock_gettime, clock, at);

	if (result == 0 && offset != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t micros = at->tv_sec * INT64_C(1000000) + at->tv_nsec / 1000 + *offset;

		at->tv_sec = micros / 1000000;
		at->tv_nsec = micros % 1000000 * 1000 + at->tv_nsec % 1000;
	}
	return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;
	int result = clock_gettime(CLOCK_REALTIME, &now);

	(void) zone;
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return result;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at != NULL)
		*at = now.tv_sec;
	return now.tv_sec;
}
