/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_csv.c - reports as CSV files, one a group; see hwpc_sink.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/err.h"
#include "sensor/hwpc_sink.h"

/* The files of a form's groups: a group's name may be used for the machine and for cgroups. */
struct files {
    const struct cb_hwpc_form *form;
    FILE *at[CB_HWPC_MAX_GROUPS];
    bool shared[CB_HWPC_MAX_GROUPS]; /* with the other form, which closes it */
};

struct csv {
    struct files files[2];
};

static int open_file(int dir_fd, const char *directory, const struct cb_hwpc_form_group *group,
                     FILE **ret_file, struct cb_err *err)
{
    char name[256];
    cb_auto_close int fd = -1;

    if (snprintf(name, sizeof(name), "%s.csv", group->name) >= (int)sizeof(name))
        return cb_err_set(err, ENAMETOOLONG, "group '%.40s...': the name is too long", group->name);
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return cb_err_set(err, EEXIST,
                          "'%s/%s' is there already: move it away, or give -U another directory",
                          directory, name);
    if (fd < 0)
        return cb_err_set(err, errno, "cannot make '%s/%s': %s", directory, name, strerror(errno));
    *ret_file = fdopen(fd, "w");
    if (!*ret_file)
        return cb_err_set(err, ENOMEM, "out of memory");
    (void)cb_take_fd(fd);
    cb_hwpc_csv_header(group, *ret_file);
    return fflush(*ret_file) ? cb_err_set(err, errno, "cannot write '%s/%s': %s", directory, name,
                                          strerror(errno))
                             : 0;
}

static bool same_names(const struct cb_hwpc_form_group *a, const struct cb_hwpc_form_group *b)
{
    if (a->n_names != b->n_names)
        return false;
    for (size_t i = 0; i < a->n_names; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    return true;
}

/* The file of the machine's group of the same name, when there is one. */
static int share_file(struct csv *csv, const struct cb_hwpc_form_group *group, FILE **ret_file,
                      struct cb_err *err)
{
    const struct files *machine = &csv->files[0];

    *ret_file = NULL;
    for (size_t g = 0; g < machine->form->n_groups; g++) {
        if (strcmp(machine->form->groups[g].name, group->name) != 0)
            continue;
        if (!same_names(&machine->form->groups[g], group))
            return cb_err_set(err, EINVAL,
                              "the groups '%s' of -s and of -c would be one file: give them the "
                              "same events or different names",
                              group->name);
        *ret_file = machine->at[g];
    }
    return 0;
}

static int open_files(struct csv *csv, size_t which, int dir_fd, const char *directory,
                      struct cb_err *err)
{
    struct files *files = &csv->files[which];
    int r = 0;

    for (size_t g = 0; r == 0 && g < files->form->n_groups; g++) {
        const struct cb_hwpc_form_group *group = &files->form->groups[g];

        if (which == 1)
            r = share_file(csv, group, &files->at[g], err);
        files->shared[g] = files->at[g] != NULL;
        if (r == 0 && !files->at[g])
            r = open_file(dir_fd, directory, group, &files->at[g], err);
    }
    return r;
}

static int csv_close(void *state, struct cb_err *err)
{
    struct csv *csv = state;
    int r = 0;

    for (size_t w = 0; w < 2; w++)
        for (size_t g = 0; g < CB_HWPC_MAX_GROUPS; g++) {
            FILE *file = csv->files[w].at[g];

            if (!file || csv->files[w].shared[g])
                continue;
            if (fflush(file) != 0 || fsync(fileno(file)) < 0)
                r = cb_err_set(err, errno, "cannot write all rows: %s", strerror(errno));
            (void)fclose(file);
        }
    free(csv);
    return r;
}

static int csv_open(const struct cb_hwpc_sink_options *options, void **ret_state,
                    struct cb_err *err)
{
    const char *directory = options->options->where;
    struct csv *csv;
    cb_auto_close int dir_fd = -1;
    int r = 0;

    if (mkdir(directory, 0755) < 0 && errno != EEXIST)
        return cb_err_set(err, errno, "cannot make the directory '%s': %s", directory,
                          strerror(errno));
    dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return cb_err_set(err, errno, "'%s': %s", directory, strerror(errno));
    csv = calloc(1, sizeof(*csv));
    if (!csv)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (size_t w = 0; w < 2; w++)
        csv->files[w].form = options->forms[w];
    for (size_t w = 0; r == 0 && w < 2; w++)
        r = open_files(csv, w, dir_fd, directory, err);
    if (r < 0) {
        (void)csv_close(csv, NULL);
        return r;
    }
    *ret_state = csv;
    return 0;
}

static int csv_write(void *state, const struct cb_hwpc_batch *batch, struct cb_err *err)
{
    struct csv *csv = state;
    int r = 0;

    for (size_t i = 0; i < batch->n; i++) {
        struct files *files = &csv->files[batch->lines[i].form->of_machine ? 0 : 1];

        for (size_t g = 0; g < files->form->n_groups; g++)
            cb_hwpc_batch_csv(batch, i, g, files->at[g]);
    }
    for (size_t w = 0; w < 2; w++)
        for (size_t g = 0; g < csv->files[w].form->n_groups; g++)
            if (fflush(csv->files[w].at[g]) != 0 && r == 0) {
                r = cb_err_set(err, errno, "group '%s': %s", csv->files[w].form->groups[g].name,
                               strerror(errno));
                clearerr(csv->files[w].at[g]);
            }
    return r;
}

const struct cb_hwpc_sink_driver cb_hwpc_csv = {
    .open = csv_open,
    .write = csv_write,
    .close = csv_close,
};
