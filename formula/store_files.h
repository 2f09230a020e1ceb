/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_files.h - rows into files: JSON lines or CSV, one line a row.
 *
 * Files     DIR/energy.<ext> is written to; when it is large or old enough it is renamed to
 *           DIR/energy-NNNNNN.<ext> and never touched again. docs/store.md has the columns.
 * Once      How far the file was written is kept with the stream in the embedded store: what a kill
 *           left behind it, half a line too, is cut off before the same rows are written again.
 * Errors    -EBUSY another cbformula writes there; any errno of open(2), write(2), rename(2).
 */
#ifndef CB_FORMULA_STORE_FILES_H
#define CB_FORMULA_STORE_FILES_H

#include "formula/stream.h"

struct cb_files_config {
    bool csv; /* else JSON lines */
    const char *dir;
    uint64_t rotate_bytes, rotate_ns;
    uint64_t keep; /* finished files; 0: all */
};

/* The lines of one row's bin. Pure. */
void cb_files_pack_jsonl(const struct cb_stream_bin *bin, struct cb_batch *batch);
void cb_files_pack_csv(const struct cb_stream_bin *bin, struct cb_batch *batch);
void cb_files_csv_head(struct cb_batch *batch);

extern const struct cb_stream_ops cb_stream_jsonl;
extern const struct cb_stream_ops cb_stream_csv;

#endif
