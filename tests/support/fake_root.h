/* SPDX-License-Identifier: Apache-2.0 */
/* fake_root.h - a temporary directory that stands for "/" in a test. */
#ifndef CB_TESTS_FAKE_ROOT_H
#define CB_TESTS_FAKE_ROOT_H

struct fake_root {
    char dir[64];
    int fd;
};

/* cmocka fixtures: *state becomes a struct fake_root. */
int fake_root_setup(void **state);
int fake_root_teardown(void **state);

/* Write @text to @path below the root, making the directories it needs. */
void fake_root_put(const struct fake_root *root, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

int count_open_fds(void);

#endif
