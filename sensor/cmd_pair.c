/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_pair.c - see cmd_pair.h. */
#include "sensor/cmd_pair.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/err.h"

static void make_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
    (void)sigaddset(set, SIGCHLD);
}

static pid_t start(int (*half)(void *context), void *context, const sigset_t *before)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    exit(half(context));
}

static void tell_both(const pid_t pids[2], int signal_number)
{
    for (int i = 0; i < 2; i++)
        if (pids[i] > 0)
            (void)kill(pids[i], signal_number);
}

/* Take those that have ended; how many are left. */
static int reap(pid_t pids[2], int *worst)
{
    for (int i = 0; i < 2; i++) {
        int status = 0;

        if (pids[i] <= 0 || waitpid(pids[i], &status, WNOHANG) != pids[i])
            continue;
        pids[i] = 0;
        status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (*worst == 0)
            *worst = status;
    }
    return (pids[0] > 0) + (pids[1] > 0);
}

int cb_cmd_pair(int (*const half[2])(void *context), void *context, struct cb_err *err)
{
    pid_t pids[2] = {0};
    sigset_t set, before;
    int worst = 0, left = 2;

    make_set(&set);
    (void)sigprocmask(SIG_BLOCK, &set, &before);
    for (int i = 0; i < 2; i++) {
        pids[i] = start(half[i], context, &before);
        if (pids[i] < 0) {
            int code = errno;

            tell_both(pids, SIGTERM);
            while (reap(pids, &worst) > 0)
                (void)sigwaitinfo(&set, NULL);
            return cb_err_set(err, code, "no second process: %s", strerror(code));
        }
    }
    while (left > 0) {
        int number = sigwaitinfo(&set, NULL);
        int now = reap(pids, &worst);

        if (now < left)
            tell_both(pids, SIGTERM);
        else if (number > 0 && number != SIGCHLD)
            tell_both(pids, number);
        left = now;
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return worst;
}
