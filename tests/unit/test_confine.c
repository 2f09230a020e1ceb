/* SPDX-License-Identifier: Apache-2.0 */
/* test_confine.c - sensor/confine.c: what a confined process can still do, and what ends it. Each
 * try is a child process, for a filter stays. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/confine.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Run @act in a confined child: its return value, or minus the signal that ended it. */
static int confined(bool will_unmount, int (*act)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct cb_err err = {0};

        if (cb_confine(will_unmount, &err) < 0) {
            (void)fprintf(stderr, "%s\n", err.text);
            _exit(99);
        }
        _exit(act());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_a_program(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return errno;
}

static int run_a_program_by_descriptor(void)
{
    static char *const argv[] = {NULL};

    (void)syscall(SYS_execveat, open("/bin/true", O_RDONLY | O_CLOEXEC), "", argv, argv, 0x1000);
    return errno;
}

static int trace_the_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0 ? errno : 0;
}

static int become_another(void)
{
    return syscall(SYS_setresuid, 65534, 65534, 65534) < 0 ? errno : 0;
}

static int mount_something(void)
{
    return mount("none", "/nowhere", "tmpfs", 0, NULL) < 0 ? errno : 0;
}

static int load_a_module(void)
{
    return syscall(SYS_finit_module, -1, "", 0) < 0 ? errno : 0;
}

static void what_a_sensor_never_does_ends_it(void **state)
{
    int (*const acts[])(void) = {run_a_program,  run_a_program_by_descriptor,
                                 become_another, mount_something,
                                 load_a_module,  trace_the_parent};

    (void)state;
    if (SANITIZED) {
        print_message("a sanitizer traces the process itself: nothing is killed\n");
        return;
    }
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        assert_int_equal(confined(false, acts[i]), -SIGSYS);
}

static int open_raw_sockets(void)
{
    static const int families[] = {AF_INET, AF_INET6, AF_PACKET};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (socket(families[i], SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP) >= 0 || errno != ENOSYS)
            return 1 + (int)i;
    return socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT) >= 0 ? 9 : 0;
}

static int make_code(void)
{
    void *at =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at != MAP_FAILED)
        return 1;
    at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return 2;
    return mprotect(at, 4096, PROT_WRITE | PROT_EXEC) < 0 && errno == ENOSYS ? 0 : 3;
}

static int start_a_process(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) < 0 && errno == ENOSYS ? 0 : 1;
}

static void what_it_does_not_need_is_not_there(void **state)
{
    (void)state;
    if (SANITIZED)
        return;
    assert_int_equal(confined(false, open_raw_sockets), 0);
    assert_int_equal(confined(false, make_code), 0);
    assert_int_equal(confined(false, start_a_process), 0);
}

static void *nothing(void *context)
{
    return context;
}

static int use_threads_and_timers(void)
{
    pthread_t thread;
    const struct itimerspec soon = {.it_value = {.tv_nsec = 1000}};
    uint64_t expirations = 0;
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);

    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    if (fd < 0 || timerfd_settime(fd, 0, &soon, NULL) < 0 ||
        read(fd, &expirations, sizeof(expirations)) != (ssize_t)sizeof(expirations))
        return 2;
    return expirations > 0 ? 0 : 3;
}

static int use_files(void)
{
    char path[] = "/tmp/cb-confine.XXXXXX";
    char moved[64];
    int fd = mkstemp(path);

    (void)snprintf(moved, sizeof(moved), "%s.moved", path);
    if (fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) < 0 || ftruncate(fd, 0) < 0)
        return 1;
    if (rename(path, moved) < 0 || unlink(moved) < 0 || close(fd) < 0)
        return 2;
    return 0;
}

/* The name services are loaded when they are first asked. */
static int ask_for_a_name(void)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    if (getaddrinfo("localhost", "80", &hints, &found) != 0)
        return 1;
    freeaddrinfo(found);
    return 0;
}

static int open_usual_sockets(void)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (socket(families[i], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) < 0 &&
            errno != EAFNOSUPPORT)
            return 1 + (int)i;
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0 ? 9 : 0;
}

static void what_it_needs_is_left(void **state)
{
    (void)state;
    assert_int_equal(confined(false, use_threads_and_timers), 0);
    assert_int_equal(confined(false, use_files), 0);
    assert_int_equal(confined(false, ask_for_a_name), 0);
    assert_int_equal(confined(false, open_usual_sockets), 0);
}

static int unmount_in_a_child(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(umount2("/nowhere", 0) < 0 && errno != ENOSYS ? 7 : 1);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 0 : 2;
}

static void a_mount_can_be_undone_when_it_must(void **state)
{
    (void)state;
    assert_int_equal(confined(true, unmount_in_a_child), 0);
    if (!SANITIZED)
        assert_int_equal(confined(true, run_a_program), -SIGSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_sensor_never_does_ends_it),
        cmocka_unit_test(what_it_does_not_need_is_not_there),
        cmocka_unit_test(what_it_needs_is_left),
        cmocka_unit_test(a_mount_can_be_undone_when_it_must),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
