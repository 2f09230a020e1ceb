/* SPDX-License-Identifier: Apache-2.0 */
/* naming.c - see naming.h. */
#include "tester/naming.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <sys/random.h>

#include "lib/err.h"

#define IMAGE_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:@-"
#define IMAGE_MAX 512
#define TEST_PART 40 /* bytes of the test's name in its container's name */

int cb_naming_test(const char *image, char ret_name[CB_NAMING_TEST_SIZE], struct cb_err *err)
{
    size_t size = strlen(image);

    if (size == 0 || size > IMAGE_MAX || strspn(image, IMAGE_CHARS) != size ||
        !isalnum((unsigned char)image[0]))
        return cb_err_set(err, EINVAL, "'%.80s' is not the name of an image", image);

    size_t end = strcspn(image, "@");
    size_t start = end;

    while (start > 0 && image[start - 1] != '/')
        start--;

    size_t n = end - start;

    if (n == 0 || n >= CB_NAMING_TEST_SIZE || !isalnum((unsigned char)image[start]) ||
        image[end - 1] == ':')
        return cb_err_set(err, EINVAL, "'%.80s' is not the name of an image", image);
    for (size_t i = 0; i < n; i++)
        ret_name[i] = image[start + i] == ':' ? '_' : image[start + i];
    ret_name[n] = '\0';
    return 0;
}

int cb_naming_check(const char *name, struct cb_err *err)
{
    size_t size = strlen(name);

    if (size == 0 || size >= CB_NAMING_TEST_SIZE)
        return cb_err_set(err, EINVAL, "the test's name must have 1 to %d bytes",
                          CB_NAMING_TEST_SIZE - 1);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return cb_err_set(err, EINVAL, "the test's name has a control character");
    return 0;
}

int cb_naming_container(const char *test, char ret_name[CB_NAMING_CONTAINER_SIZE],
                        struct cb_err *err)
{
    char part[TEST_PART + 1];
    uint64_t unique;
    size_t n = 0;

    if (getrandom(&unique, sizeof(unique), 0) != (ssize_t)sizeof(unique))
        return cb_err_set(err, errno, "no random number: %s", strerror(errno));
    for (; n < TEST_PART && test[n]; n++) {
        unsigned char c = (unsigned char)test[n];

        part[n] = c < 0x80 && (isalnum(c) || strchr("_.-", c)) ? (char)c : '_';
    }
    part[n] = '\0';
    (void)snprintf(ret_name, CB_NAMING_CONTAINER_SIZE, "cbtest-%s-%016" PRIx64, part, unique);
    return 0;
}
