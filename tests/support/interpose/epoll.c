/*
 * Makes the I/O thread of a worker fail: LD_PRELOADed, its next wait for events ends with an error when the file is there that is named by
 * IO_THREAD_FAILS. The file is removed, so that it fails once. Other threads and processes wait as ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	const char *path = getenv("IO_THREAD_FAILS");
	char name[16] = "";

	if (real == NULL)
		real = (int (*)(int, struct epoll_event *, int, int)) dlsym(RTLD_NEXT, "epoll_wait");
	prctl(PR_GET_NAME, name);
	if (path != NULL && strncmp(name, "target_profile", 14) == 0 && unlink(path) == 0)
	{
		errno = EBADF;
		return -1;
	}
	return real(epfd, events, maxevents, timeout);
}
