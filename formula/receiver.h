/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receiver.h - the thread between the link and the store: takes messages, commits in groups, and
 * when the store fails waits and tries again without reading on.
 */
#ifndef CB_FORMULA_RECEIVER_H
#define CB_FORMULA_RECEIVER_H

#include "formula/ingest.h"
#include "lib/cleanup.h"
#include "lib/link.h"

struct cb_err;
struct cb_receiver;
struct cb_inbox;

/* Let in whom the list names; @context is the struct cb_known of the receiver. */
bool cb_receiver_admit(void *context, const char *key);

/* @server, @inbox (NULL: none) and what @options borrows are used by the thread only, until stop.
 * options->answers is filled here. */
int cb_receiver_start(struct cb_link_server *server, struct cb_inbox *inbox,
                      const struct cb_ingest_options *options, struct cb_receiver **ret_receiver,
                      struct cb_err *err) cb_must_check;

/* Take what is in the inbox, commit what came, save what was learnt, end the thread. Returns NULL.
 */
struct cb_receiver *cb_receiver_stop(struct cb_receiver *receiver);

#endif
