/* SPDX-License-Identifier: Apache-2.0 */
/* fake_root.c - see fake_root.h. */
#define _XOPEN_SOURCE_EXTENDED 1
#include "tests/support/fake_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    abort();
}

int fake_root_setup(void **state)
{
    struct fake_root *root = malloc(sizeof(*root));

    if (!root)
        die("malloc");
    (void)snprintf(root->dir, sizeof(root->dir), "/tmp/cb-test-XXXXXX");
    if (!mkdtemp(root->dir))
        die("mkdtemp");
    root->fd = open(root->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0)
        die(root->dir);
    *state = root;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int fake_root_teardown(void **state)
{
    struct fake_root *root = *state;

    (void)close(root->fd);
    if (nftw(root->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        die(root->dir);
    free(root);
    return 0;
}

void fake_root_put(const struct fake_root *root, const char *path, const char *fmt, ...)
{
    char full[512];
    va_list ap;
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", root->dir, path);
    for (char *p = full + strlen(root->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(full, 0755);
        *p = '/';
    }
    file = fopen(full, "we");
    if (!file)
        die(full);
    va_start(ap, fmt);
    (void)vfprintf(file, fmt, ap);
    va_end(ap);
    if (fclose(file) != 0)
        die(full);
}

int count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!dir)
        die("/proc/self/fd");
    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n;
}
