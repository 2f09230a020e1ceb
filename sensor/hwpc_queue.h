/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_queue.h - reports on their way to a sink that may make us wait: a thread of its own writes
 * them, so that no tick waits for a server.
 *
 * Away     the thread tries again, after 1 s, then twice as long each time, up to 30 s. Meanwhile
 *          ticks wait here, up to CB_HWPC_QUEUE_BYTES; then the oldest goes, and is counted. One
 *          that a write was tried of stays: the sink may have delivered a part of it.
 * Threads  all calls from one thread, beside the thread inside.
 */
#ifndef CB_SENSOR_HWPC_QUEUE_H
#define CB_SENSOR_HWPC_QUEUE_H

#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_report.h"
#include "sensor/hwpc_sink.h"

#define CB_HWPC_QUEUE_BYTES (64u << 20)

struct cb_hwpc_queue;

/* @sink is borrowed until close. */
int cb_hwpc_queue_open(struct cb_hwpc_sink *sink, struct cb_hwpc_queue **ret_queue,
                       struct cb_err *err) cb_must_check;

/* An empty batch to fill; the queue's until it is given to cb_hwpc_queue_push(). NULL: no memory.
 */
struct cb_hwpc_batch *cb_hwpc_queue_take(struct cb_hwpc_queue *queue);
void cb_hwpc_queue_push(struct cb_hwpc_queue *queue, struct cb_hwpc_batch *batch);

/* Write what waits, at most @wait_ns long. Returns the reports that were lost since open. */
uint64_t cb_hwpc_queue_close(struct cb_hwpc_queue *queue, uint64_t wait_ns);

#endif
