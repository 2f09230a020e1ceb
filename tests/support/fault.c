/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - see fault.h. */
#include "tests/support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

static int calls_left = -1;

void fault_arm(int k)
{
    calls_left = k;
}

void fault_disarm(void)
{
    calls_left = -1;
}

static int must_fail(int code)
{
    if (calls_left < 0 || calls_left-- > 0)
        return 0;
    errno = code;
    return 1;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return must_fail(ENOMEM) ? NULL : __real_calloc(count, size);
}

int __real_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
    int mode = 0;

    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list ap;

        va_start(ap, flags);
        mode = va_arg(ap, int);
        va_end(ap);
    }
    return must_fail(EMFILE) ? -1 : __real_openat(dir_fd, path, flags, mode);
}

ssize_t __real_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset)
{
    return must_fail(ENODATA) ? -1 : __real_pread(fd, buf, size, offset);
}

static atomic_int fdatasyncs;

int fault_fdatasyncs(void)
{
    return fdatasyncs;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    fdatasyncs++;
    return must_fail(EIO) ? -1 : __real_fdatasync(fd);
}

long (*fault_syscall)(long number, const long args[6]);

long __real_syscall(long number, ...);
/* Called as syscall(2), which takes as many as the call has: the rest holds anything, and goes to
 * the kernel, which does not look at it. */
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

long fault_real_syscall(long number, const long args[6])
{
    return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    const long args[6] = {a, b, c, d, e, f};

    return fault_syscall ? fault_syscall(number, args) : fault_real_syscall(number, args);
}

int (*fault_bpf_update)(void);

#if CB_HAVE_BPF
int __real_bpf_map_update_elem(int map, const void *key, const void *value,
                               unsigned long long flags);
int __wrap_bpf_map_update_elem(int map, const void *key, const void *value,
                               unsigned long long flags);
int __wrap_bpf_map_update_elem(int map, const void *key, const void *value,
                               unsigned long long flags)
{
    int code = fault_bpf_update ? fault_bpf_update() : 0;

    if (code == 0)
        return __real_bpf_map_update_elem(map, key, value, flags);
    errno = code;
    return -code;
}
#endif
