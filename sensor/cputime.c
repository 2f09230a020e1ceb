/* SPDX-License-Identifier: Apache-2.0 */
/* cputime.c - see cputime.h. */
#include "sensor/cputime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/fsread.h"
#include "sensor/mounts.h"

void cb_cputime_init(struct cb_cputime *cputime, int root_fd, int counting_fd)
{
    struct cb_mount mount;

    *cputime = (struct cb_cputime){.counting_fd = counting_fd, .cpuacct_fd = -1};
    if (cb_mounts_find_cgroup(root_fd, "cpuacct", &mount, NULL) == 0)
        cputime->cpuacct_fd = openat(root_fd, mount.point + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void cb_cputime_fini(struct cb_cputime *cputime)
{
    if (cputime->cpuacct_fd >= 0)
        (void)close(cb_take_fd(cputime->cpuacct_fd));
}

int cb_cputime_parse_stat(const char *text, uint64_t *ret_ns)
{
    static const char key[] = "usage_usec ";
    uint64_t us;

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        char number[32];
        size_t n;

        if (strncmp(text, key, sizeof(key) - 1) != 0)
            continue;
        text += sizeof(key) - 1;
        n = strcspn(text, "\n");
        if (n >= sizeof(number))
            return -EINVAL;
        memcpy(number, text, n);
        number[n] = '\0';
        if (cb_parse_u64(number, &us) < 0 || us > UINT64_MAX / 1000)
            return -EINVAL;
        *ret_ns = us * 1000;
        return 0;
    }
    return -EINVAL;
}

int cb_cputime_read(const struct cb_cputime *cputime, const char *path, uint64_t *ret_ns,
                    struct cb_err *err)
{
    char file[PATH_MAX];
    char text[4096];
    int r;

    (void)snprintf(file, sizeof(file), "%s/cpu.stat", path + 1);
    r = cb_fsread_text(cputime->counting_fd, file, text, sizeof(text), err);
    if (r == 0)
        return cb_cputime_parse_stat(text, ret_ns);
    if (cputime->cpuacct_fd < 0)
        return r;
    (void)snprintf(file, sizeof(file), "%s/cpuacct.usage", path + 1);
    return cb_fsread_u64(cputime->cpuacct_fd, file, ret_ns, err);
}
