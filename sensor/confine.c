/* SPDX-License-Identifier: Apache-2.0 */
/* confine.c - see confine.h. */
#include "sensor/confine.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <seccomp.h>

#include "lib/err.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* looking for leaks at exit traces the process itself */
#else
#define SANITIZED 0
#endif

/* By name: some exist on some processors only. The first are those of a tick. */
static const char *const allowed[] = {
    "read",
    "pread64",
    "ioctl",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "bpf",
    "perf_event_open",
    "write",
    "writev",
    "futex",
    "clock_gettime",
    /* files */
    "open",
    "openat",
    "openat2",
    "close",
    "close_range",
    "readv",
    "preadv",
    "pwrite64",
    "pwritev",
    "lseek",
    "_llseek",
    "fstat",
    "fstat64",
    "stat",
    "stat64",
    "lstat",
    "lstat64",
    "fstatat64",
    "newfstatat",
    "statx",
    "statfs",
    "statfs64",
    "fstatfs",
    "fstatfs64",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents",
    "getdents64",
    "getcwd",
    "fcntl",
    "fcntl64",
    "dup",
    "dup2",
    "dup3",
    "flock",
    "ftruncate",
    "ftruncate64",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "fadvise64",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "umask",
    "fchmod",
    "fchmodat",
    "pipe",
    "pipe2",
    "memfd_create",
    /* waiting and being told */
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait2",
    "select",
    "_newselect",
    "pselect6",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "signalfd4",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    /* sockets; socket(2) itself is below */
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "shutdown",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    /* memory; mmap(2) and mprotect(2) are below */
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "mincore",
    "membarrier",
    /* threads and the process itself; clone(2) is below */
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "futex_waitv",
    "set_tid_address",
    "arch_prctl",
    "prctl",
    "gettid",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    "getgroups",
    "getpgrp",
    "capget",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getattr",
    "sched_setattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "getpriority",
    "setpriority",
    "getcpu",
    "getrlimit",
    "ugetrlimit",
    "setrlimit",
    "prlimit64",
    "getrusage",
    "times",
    "sysinfo",
    "uname",
    "getrandom",
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "tgkill",
    "tkill",
    /* time */
    "clock_gettime64",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
};

static const char *const unmounting[] = {
    "mount",  "umount2", "setns",  "unshare", "chroot", "chdir",
    "fchdir", "wait4",   "waitid", "clone",   "fork",   "vfork",
};

static const char *const killing[] = {
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "swapon",
    "swapoff",
    "add_key",
    "request_key",
    "keyctl",
    "userfaultfd",
    "open_by_handle_at",
    "iopl",
    "ioperm",
    "acct",
    "settimeofday",
    "clock_settime",
    "sethostname",
};

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

/* What this processor does not have needs no rule. */
static int add_list(scmp_filter_ctx filter, uint32_t action, const char *const *list, size_t n)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        int number = seccomp_syscall_resolve_name(list[i]);

        if (number >= 0)
            r = seccomp_rule_add_array(filter, action, number, 0, NULL);
    }
    return r;
}

#define ADD_LIST(filter, action, list)                                                             \
    add_list(filter, action, list, sizeof(list) / sizeof((list)[0]))

static int allow_when(scmp_filter_ctx filter, int number, unsigned n,
                      const struct scmp_arg_cmp *conditions)
{
    return number < 0 ? 0 : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, n, conditions);
}

static struct scmp_arg_cmp equals(unsigned arg, uint64_t value)
{
    return (struct scmp_arg_cmp){.arg = arg, .op = SCMP_CMP_EQ, .datum_a = value};
}

static struct scmp_arg_cmp masked(unsigned arg, uint64_t mask, uint64_t value)
{
    return (struct scmp_arg_cmp){
        .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

/* Memory is writable or executable: dlopen(3), for name services, needs the latter. */
static int add_memory(scmp_filter_ctx filter)
{
    static const char *const calls[] = {"mmap", "mmap2", "mprotect"};
    static const uint64_t modes[] = {0, PROT_WRITE, PROT_EXEC};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
        for (size_t k = 0; r == 0 && k < sizeof(modes) / sizeof(modes[0]); k++) {
            const struct scmp_arg_cmp mode = masked(2, PROT_WRITE | PROT_EXEC, modes[k]);

            r = allow_when(filter, seccomp_syscall_resolve_name(calls[i]), 1, &mode);
        }
    return r;
}

/* getaddrinfo(3) asks the kernel by netlink which addresses this machine has. */
static int add_sockets(scmp_filter_ctx filter)
{
    static const struct {
        int family, type, protocol; /* -1: any */
    } kinds[] = {
        {AF_UNIX, -1, -1},           {AF_INET, SOCK_STREAM, -1}, {AF_INET, SOCK_DGRAM, -1},
        {AF_INET6, SOCK_STREAM, -1}, {AF_INET6, SOCK_DGRAM, -1}, {AF_NETLINK, -1, 0},
    };
    const uint64_t flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    int number = seccomp_syscall_resolve_name("socket");
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct scmp_arg_cmp conditions[3] = {equals(0, (uint64_t)kinds[i].family)};
        unsigned n = 1;

        if (kinds[i].type >= 0)
            conditions[n++] = masked(1, UINT32_MAX & ~flags, (uint64_t)kinds[i].type);
        if (kinds[i].protocol >= 0)
            conditions[n++] = equals(2, (uint64_t)kinds[i].protocol);
        r = allow_when(filter, number, n, conditions);
    }
    return r;
}

/* Threads, not processes; clone3(2) hides its flags from a filter, and without it clone(2) is used.
 */
static int add_threads(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp thread = masked(0, CLONE_THREAD, CLONE_THREAD);

    return allow_when(filter, seccomp_syscall_resolve_name("clone"), 1, &thread);
}

static int add_killing(scmp_filter_ctx filter, bool will_unmount)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(killing) / sizeof(killing[0]); i++)
        if (!will_unmount ||
            !is_one_of(killing[i], unmounting, sizeof(unmounting) / sizeof(unmounting[0])))
            r = add_list(filter, SCMP_ACT_KILL_PROCESS, &killing[i], 1);
    return r;
}

static int add_rules(scmp_filter_ctx filter, bool will_unmount)
{
    static const char *const sanitizers[] = {"ptrace", "clone", "wait4"};
    int r = ADD_LIST(filter, SCMP_ACT_ALLOW, allowed);

    if (r == 0)
        r = add_memory(filter);
    if (r == 0)
        r = add_sockets(filter);
    if (r == 0 && will_unmount)
        r = ADD_LIST(filter, SCMP_ACT_ALLOW, unmounting);
    else if (r == 0 && !SANITIZED)
        r = add_threads(filter);
    if (r == 0 && SANITIZED)
        return ADD_LIST(filter, SCMP_ACT_ALLOW, sanitizers);
    return r == 0 ? add_killing(filter, will_unmount) : r;
}

/* As fast as can be: sorted into a tree, and without the mitigation that only a filter for code of
 * others needs. Kernels that know the calls which are always allowed run no filter for them. */
static int set_attributes(scmp_filter_ctx filter)
{
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    return seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
}

int cb_confine(bool will_unmount, struct cb_err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int r;

    if (!filter)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = set_attributes(filter);
    if (r == 0)
        r = add_rules(filter, will_unmount);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    if (r == 0)
        return 0;
    if (r == -EINVAL || r == -ECANCELED || r == -ENOSYS)
        return cb_err_set(err, ENOTSUP, "this kernel has no seccomp filters");
    return cb_err_set(err, -r, "cannot load the seccomp filter: %s", strerror(-r));
}
