/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_metadata.c - see hwpc_metadata.h; the object is a json_t. */
#include "lib/hwpc_metadata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/hwpc_private.h"

static json_t *copy_of(json_t *value);

static json_t *copy_of_object(json_t *object)
{
    json_t *copy = json_object(), *member;
    const char *key;

    json_object_foreach(object, key, member)
    {
        if (json_object_set_new(copy, key, copy_of(member)) < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static json_t *copy_of_array(json_t *array)
{
    json_t *copy = json_array(), *member;
    size_t i;

    json_array_foreach(array, i, member)
    {
        if (json_array_append_new(copy, copy_of(member)) < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

/* Integers were read as doubles; they become integers again. NULL: out of memory. */
static json_t *copy_of(json_t *value)
{
    if (json_is_object(value))
        return copy_of_object(value);
    if (json_is_array(value))
        return copy_of_array(value);
    return json_is_real(value) ? cb_hwpc_number(json_real_value(value)) : json_incref(value);
}

int cb_hwpc_metadata_text(const struct cb_hwpc_metadata *metadata, const char *const *without,
                          size_t n_without, char **ret_text, struct cb_err *err)
{
    json_t *members = copy_of((json_t *)(uintptr_t)metadata);
    char *text;
    size_t size;

    for (size_t i = 0; i < n_without; i++)
        (void)json_object_del(members, without[i]);
    text = json_dumps(members, JSON_COMPACT);
    json_decref(members);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory for a report's metadata");
    size = strlen(text);
    text[0] = size > 2 ? ',' : '\0'; /* braces around members, or around nothing */
    text[size - 1] = '\0';
    if (size > CB_HWPC_MAX_METADATA) {
        free(text);
        text = NULL;
    }
    *ret_text = text;
    return 0;
}
