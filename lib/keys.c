/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - see keys.h. */
#include "lib/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#include "lib/err.h"

#define KEY_CHARS (CB_KEY_SIZE - 1)
#define KEY_BYTES 32
#define NAME_BYTES 256

bool cb_keys_is_z85(const char *text)
{
    uint8_t key[KEY_BYTES];

    return strnlen(text, CB_KEY_SIZE) == KEY_CHARS && zmq_z85_decode(key, text) != NULL;
}

/* The key in an open file: 40 characters, white space may follow. */
static int read_key(int fd, const char *name, char ret_key[CB_KEY_SIZE], struct cb_err *err)
{
    char text[2 * CB_KEY_SIZE] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return cb_err_set(err, errno, "cannot read '%s': %s", name, strerror(errno));
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    text[n] = '\0';
    if (!cb_keys_is_z85(text))
        return cb_err_set(err, EINVAL, "'%s' does not hold a key (40 characters of Z85)", name);
    memcpy(ret_key, text, CB_KEY_SIZE);
    return 0;
}

static int fill(int fd, const char *key)
{
    char line[CB_KEY_SIZE];

    memcpy(line, key, KEY_CHARS);
    line[KEY_CHARS] = '\n';
    for (size_t done = 0; done < sizeof(line);) {
        ssize_t n = write(fd, line + done, sizeof(line) - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* The file is whole under its name or not there: written aside, fsync'ed, renamed. */
static int write_key(int dir_fd, const char *name, const char *key, mode_t mode, struct cb_err *err)
{
    char aside[NAME_BYTES];
    cb_auto_close int fd = -1;
    int n = snprintf(aside, sizeof(aside), "%s.new", name);
    int r;

    if (n < 0 || (size_t)n >= sizeof(aside))
        return cb_err_set(err, ENAMETOOLONG, "file name '%.60s...' is too long", name);
    (void)unlinkat(dir_fd, aside, 0); /* of a start that was cut short */
    fd = openat(dir_fd, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return cb_err_set(err, errno, "cannot make '%s': %s", aside, strerror(errno));
    r = fill(fd, key);
    if (r == 0 && renameat(dir_fd, aside, dir_fd, name) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dir_fd, aside, 0);
        return cb_err_set(err, -r, "cannot write '%s': %s", name, strerror(-r));
    }
    if (fsync(dir_fd) < 0)
        return cb_err_set(err, errno, "cannot sync the directory of '%s': %s", name,
                          strerror(errno));
    return 0;
}

static int read_secret(int fd, const char *name, struct cb_keys *keys, struct cb_err *err)
{
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return cb_err_set(err, errno, "cannot stat '%s': %s", name, strerror(errno));
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return cb_err_set(err, EACCES,
                          "secret key '%s' is open to others (mode %04o): chmod 600 it, or make a "
                          "new one if they may have read it",
                          name, (unsigned)(st.st_mode & 07777));
    r = read_key(fd, name, keys->secret_key, err);
    if (r < 0)
        return r;
    if (zmq_curve_public(keys->public_key, keys->secret_key) < 0)
        return cb_err_set(err, errno, "'%s': cannot derive the public key: %s", name,
                          zmq_strerror(errno));
    return 0;
}

static int make_secret(int dir_fd, const char *name, struct cb_keys *keys, struct cb_err *err)
{
    if (zmq_curve_keypair(keys->public_key, keys->secret_key) < 0)
        return cb_err_set(err, errno, "cannot make a key pair: %s", zmq_strerror(errno));
    return write_key(dir_fd, name, keys->secret_key, 0600, err);
}

/* Write the public file when it is missing or holds anything else than this key. */
static int keep_public(int dir_fd, const char *name, const char *key, struct cb_err *err)
{
    cb_auto_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    char old[CB_KEY_SIZE];

    if (fd >= 0 && read_key(fd, name, old, NULL) == 0 && strcmp(old, key) == 0)
        return 0;
    return write_key(dir_fd, name, key, 0644, err);
}

int cb_keys_open(int dir_fd, const char *secret_name, const char *public_name,
                 struct cb_keys *ret_keys, bool *ret_made, struct cb_err *err)
{
    cb_auto_close int fd = openat(dir_fd, secret_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct cb_keys keys = {0};
    bool made = fd < 0 && errno == ENOENT;
    int r;

    if (fd < 0 && !made)
        return cb_err_set(err, errno, "cannot open '%s': %s", secret_name, strerror(errno));
    r = made ? make_secret(dir_fd, secret_name, &keys, err)
             : read_secret(fd, secret_name, &keys, err);
    if (r == 0)
        r = keep_public(dir_fd, public_name, keys.public_key, err);
    if (r == 0) {
        *ret_keys = keys;
        *ret_made = made;
    }
    explicit_bzero(&keys, sizeof(keys));
    return r;
}

/* A file of that name wins: '/' and '.' are Z85 characters too, so a path can look like a key. */
int cb_keys_public(const char *key_or_path, char ret_key[CB_KEY_SIZE], struct cb_err *err)
{
    cb_auto_close int fd = open(key_or_path, O_RDONLY | O_CLOEXEC);
    int code = errno;

    if (fd >= 0)
        return read_key(fd, key_or_path, ret_key, err);
    if (!cb_keys_is_z85(key_or_path))
        return cb_err_set(err, code == ENOENT ? EINVAL : code,
                          "'%.100s' is neither a public key (40 characters of Z85) nor a file that "
                          "can be read: %s",
                          key_or_path, strerror(code));
    memcpy(ret_key, key_or_path, CB_KEY_SIZE);
    return 0;
}
