/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_sink.c - see hwpc_sink.h. */
#include "sensor/hwpc_sink.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/err.h"

struct cb_hwpc_sink {
    const struct cb_hwpc_sink_driver *driver; /* NULL: nowhere */
    void *state;
};

static const struct cb_hwpc_sink_driver *driver_of(enum cb_hwpc_storage storage)
{
    switch (storage) {
    case CB_HWPC_CSV:
        return &cb_hwpc_csv;
    case CB_HWPC_SOCKET:
        return &cb_hwpc_socket;
    case CB_HWPC_MONGODB:
        return &cb_hwpc_mongodb;
    default:
        return NULL;
    }
}

int cb_hwpc_sink_open(const struct cb_hwpc_sink_options *options, struct cb_hwpc_sink **ret_sink,
                      struct cb_err *err)
{
    cb_auto_free struct cb_hwpc_sink *sink = calloc(1, sizeof(*sink));
    int r = 0;

    if (!sink)
        return cb_err_set(err, ENOMEM, "out of memory");
    sink->driver = driver_of(options->options->storage);
    if (sink->driver)
        r = sink->driver->open(options, &sink->state, err);
    if (r < 0)
        return cb_err_prefix(err, r, "storage %s", cb_hwpc_storage_name(options->options->storage));
    *ret_sink = cb_take(sink);
    return 0;
}

bool cb_hwpc_sink_may_wait(const struct cb_hwpc_sink *sink)
{
    return sink->driver && sink->driver->may_wait;
}

int cb_hwpc_sink_write(struct cb_hwpc_sink *sink, const struct cb_hwpc_batch *batch,
                       struct cb_err *err)
{
    return sink->driver ? sink->driver->write(sink->state, batch, err) : 0;
}

int cb_hwpc_sink_close(struct cb_hwpc_sink *sink, struct cb_err *err)
{
    int r = 0;

    if (sink && sink->driver)
        r = sink->driver->close(sink->state, err);
    free(sink);
    return r;
}
