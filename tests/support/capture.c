/* SPDX-License-Identifier: Apache-2.0 */
/* capture.c - see capture.h. */
#include "tests/support/capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <fcntl.h>

static int redirect(const struct capture *capture, const char *name, int fd)
{
    int file = openat(capture->root->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int saved = dup(fd);

    assert_true(file >= 0 && saved >= 0);
    assert_true(dup2(file, fd) >= 0);
    (void)close(file);
    return saved;
}

static void restore(const struct capture *capture, const char *name, int fd, int saved, char *text,
                    size_t size)
{
    int file = openat(capture->root->fd, name, O_RDONLY | O_CLOEXEC, 0);
    ssize_t n;

    assert_true(dup2(saved, fd) >= 0);
    (void)close(saved);
    assert_true(file >= 0);
    n = read(file, text, size - 1);
    (void)close(file);
    assert_true(n >= 0);
    text[n] = '\0';
}

void capture_begin(struct capture *capture, const struct fake_root *root)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    capture->root = root;
    capture->out = redirect(capture, "out", STDOUT_FILENO);
    capture->err = redirect(capture, "err", STDERR_FILENO);
}

void capture_end(struct capture *capture, char *out, size_t out_size, char *err, size_t err_size)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    restore(capture, "out", STDOUT_FILENO, capture->out, out, out_size);
    restore(capture, "err", STDERR_FILENO, capture->err, err, err_size);
}
