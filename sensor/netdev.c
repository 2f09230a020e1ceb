/* SPDX-License-Identifier: Apache-2.0 */
/* netdev.c - see netdev.h. */
#include "sensor/netdev.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define MAX_DEPTH 4
#define MAX_CGROUPS 64
#define FIRST "init.scope"

struct search {
    int root_fd;
    uint64_t host;
    unsigned left; /* cgroups that may still be looked into */
    bool any;
};

static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

uint64_t cb_netdev_host(int root_fd)
{
    cb_auto_close int fd = openat(root_fd, "proc/1/net/dev", O_RDONLY | O_CLOEXEC);

    return fd < 0 ? 0 : inode_of(fd);
}

/* The first process of the cgroup itself; 0: none, or none that can be seen. */
static unsigned long first_pid(int cgroup_fd)
{
    cb_auto_close int fd = openat(cgroup_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char text[24];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtoul(text, NULL, 10);
}

static int open_pid(const struct search *s, unsigned long pid)
{
    char path[64];
    cb_auto_close int fd = -1;

    (void)snprintf(path, sizeof(path), "proc/%lu/net/dev", pid);
    fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC);
    return fd < 0 || inode_of(fd) == s->host ? -1 : cb_take_fd(fd);
}

static int look_into(struct search *s, int parent_fd, const char *name, unsigned depth);

static int look_below(struct search *s, int cgroup_fd, unsigned depth)
{
    char entries[2048] __attribute__((aligned(__alignof__(struct dirent64))));
    int found = look_into(s, cgroup_fd, FIRST, depth);
    ssize_t n;

    while (found < 0 && s->left > 0 && (n = getdents64(cgroup_fd, entries, sizeof(entries))) > 0)
        for (const char *p = entries; found < 0 && p < entries + n;) {
            const struct dirent64 *e = (const void *)p;

            if (e->d_name[0] != '.' && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) &&
                strcmp(e->d_name, FIRST) != 0)
                found = look_into(s, cgroup_fd, e->d_name, depth);
            p += e->d_reclen;
        }
    return found;
}

static int look_into(struct search *s, int parent_fd, const char *name, unsigned depth)
{
    cb_auto_close int fd = -1;
    unsigned long pid;

    if (s->left == 0)
        return -1;
    fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    s->left--;
    pid = first_pid(fd);
    if (pid) {
        s->any = true;
        return open_pid(s, pid);
    }
    return depth > 0 ? look_below(s, fd, depth - 1) : -1;
}

int cb_netdev_open(int root_fd, uint64_t host, int hierarchy_fd, const char *path, bool *ret_any)
{
    struct search s = {.root_fd = root_fd, .host = host, .left = 1 + MAX_CGROUPS};
    int fd = look_into(&s, hierarchy_fd, path, MAX_DEPTH);

    *ret_any = s.any;
    return fd;
}
