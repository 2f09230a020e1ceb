/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt.c - see interrupt.h. */
#include "tester/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "lib/err.h"

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

#define N_CAUGHT (sizeof(caught) / sizeof(caught[0]))

static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t first_signal;

static void on_signal(int number)
{
    int saved = errno;

    if (first_signal == 0)
        first_signal = number;
    if (write(pipe_fds[1], "", 1) < 0) {
        /* Full: it is readable already. */
    }
    errno = saved;
}

int cb_interrupt_open(struct cb_err *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old;

    first_signal = 0;
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return cb_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    (void)sigfillset(&action.sa_mask);
    for (size_t i = 0; i < N_CAUGHT; i++) {
        if (sigaction(caught[i], NULL, &old) == 0 && caught[i] == SIGHUP &&
            old.sa_handler == SIG_IGN)
            continue;
        if (sigaction(caught[i], &action, NULL) < 0)
            return cb_err_set(err, errno, "cannot catch signal %d: %s", caught[i], strerror(errno));
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

int cb_interrupt_fd(void)
{
    return pipe_fds[0];
}

int cb_interrupt_signal(void)
{
    return first_signal;
}

void cb_interrupt_close(void)
{
    for (size_t i = 0; i < N_CAUGHT; i++)
        (void)signal(caught[i], SIG_DFL);
    for (size_t i = 0; i < 2; i++) {
        if (pipe_fds[i] >= 0)
            (void)close(pipe_fds[i]);
        pipe_fds[i] = -1;
    }
}
