/* SPDX-License-Identifier: Apache-2.0 */
/* container_files.c - see container_files.h. */
#include "sensor/container_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/cgroup_id.h"
#include "sensor/fsread.h"

#define FILE_MAX (16u << 20)
#define SYSTEM_DATA "var/lib"

enum form { DOCKER, STORAGE, OCI };

/* Users own the directories of their containers and can put a pipe there, which would be waited for,
 * or a link to a device: it is looked at first, and then that very file is opened. */
static int read_file(int root_fd, const char *path, char **ret_text)
{
    cb_auto_close int fd = openat(root_fd, path, O_PATH | O_CLOEXEC);
    char self[40];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return cb_fsread_all(AT_FDCWD, self, FILE_MAX, ret_text, NULL);
}

static int try_file(int root_fd, const char *path, enum form form, const char *id,
                    struct cb_container_text *ret_text)
{
    cb_auto_free char *text = NULL;
    int r = read_file(root_fd, path, &text);

    if (r < 0)
        return r;
    switch (form) {
    case DOCKER:
        return cb_container_text_docker(text, strlen(text), ret_text, NULL);
    case STORAGE:
        return cb_container_text_storage(text, strlen(text), id, ret_text, NULL);
    case OCI:
        break;
    }
    return cb_container_text_oci(text, strlen(text), ret_text, NULL);
}

/* The storage directory is that of Podman or of CRI-O; only the latter annotates. */
static int try_storage(int root_fd, const char *data, const char *id,
                       struct cb_container_text *ret_text)
{
    static const char *const drivers[] = {"overlay", "vfs", "btrfs", "zfs"};
    static const char *const lists[] = {"containers.json", "volatile-containers.json"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        (void)snprintf(path, sizeof(path),
                       "%s/containers/storage/%s-containers/%s/userdata/config.json", data,
                       drivers[i], id);
        if (try_file(root_fd, path, OCI, id, ret_text) == 0)
            return 0;
        for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++) {
            (void)snprintf(path, sizeof(path), "%s/containers/storage/%s-containers/%s", data,
                           drivers[i], lists[k]);
            if (try_file(root_fd, path, STORAGE, id, ret_text) == 0)
                return 0;
        }
    }
    return -ENOENT;
}

static int try_data(int root_fd, const char *data, const char *id,
                    struct cb_container_text *ret_text)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/docker/containers/%s/config.v2.json", data, id);
    if (try_file(root_fd, path, DOCKER, id, ret_text) == 0)
        return 0;
    return try_storage(root_fd, data, id, ret_text);
}

static int try_containerd(int root_fd, const char *id, struct cb_container_text *ret_text)
{
    static const struct {
        const char *state, *namespace;
    } places[] = {{"containerd", "k8s.io"},
                  {"containerd", "default"},
                  {"containerd", "moby"},
                  {"k3s/containerd", "k8s.io"},
                  {"k0s/containerd", "k8s.io"}};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        (void)snprintf(path, sizeof(path), "run/%s/io.containerd.runtime.v2.task/%s/%s/config.json",
                       places[i].state, places[i].namespace, id);
        if (try_file(root_fd, path, OCI, id, ret_text) == 0)
            return 0;
    }
    return -ENOENT;
}

/* The home of @uid in /etc/passwd (name:x:uid:gid:gecos:home:shell), without the leading '/'. */
static bool find_home(int root_fd, long uid, char *ret_home, size_t size)
{
    cb_auto_free char *text = NULL;
    char *rest = NULL;

    if (cb_fsread_all(root_fd, "etc/passwd", FILE_MAX, &text, NULL) < 0)
        return false;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *fields[6] = {0};
        char *at = line;
        uint64_t its_uid;

        for (size_t i = 0; at && i < sizeof(fields) / sizeof(fields[0]); i++)
            fields[i] = strsep(&at, ":");
        if (!fields[5] || cb_parse_u64(fields[2], &its_uid) < 0 || its_uid != (uint64_t)uid ||
            fields[5][0] != '/')
            continue;
        return snprintf(ret_home, size, "%s", fields[5] + 1) < (int)size;
    }
    return false;
}

static int try_rootless(int root_fd, const char *id, const char *cgroup,
                        struct cb_container_text *ret_text)
{
    long uid = cb_cgroup_id_user(cgroup);
    char home[PATH_MAX / 4];
    char data[PATH_MAX / 2];

    if (uid < 0 || !find_home(root_fd, uid, home, sizeof(home)))
        return -ENOENT;
    (void)snprintf(data, sizeof(data), "%s/.local/share", home);
    return try_data(root_fd, data, id, ret_text);
}

int cb_container_files_look_up(int root_fd, const char *id, const char *cgroup,
                               struct cb_container_text *ret_text, struct cb_err *err)
{
    if (try_rootless(root_fd, id, cgroup, ret_text) == 0 ||
        try_data(root_fd, SYSTEM_DATA, id, ret_text) == 0 ||
        try_containerd(root_fd, id, ret_text) == 0)
        return 0;
    return cb_err_set(err, ENOENT, "no file of Docker, Podman, CRI-O or containerd names it");
}
