/* SPDX-License-Identifier: Apache-2.0 */
/* replay_input.c - see replay_input.h. */
#include "formula/replay_input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formula/dictionary.h"
#include "formula/frame_reports.h"
#include "formula/infile.h"
#include "lib/err.h"
#include "lib/frame.h"

const char *cb_replay_recording(const char *input)
{
    return strncmp(input, "frames:", 7) == 0 ? input + 7 : NULL;
}

int cb_replay_records(const char *path, bool skip_bad, cb_replay_each_record *each, void *context,
                      uint64_t *ret_skipped, struct cb_err *err)
{
    struct cb_recording_reader *reader = NULL;
    struct cb_recording_record record;
    uint64_t n_frames = 0;
    FILE *file = NULL;
    int r = cb_infile_open(path, &file, err);

    *ret_skipped = 0;
    if (r == 0)
        r = cb_recording_open(file, path, &reader, err);
    while (r == 0) {
        r = cb_recording_next(reader, &record, err);
        if (r < 0 || record.kind == 0)
            break;
        r = each(context, &record, err);
        if ((r == -EBADMSG || r == -EPROTONOSUPPORT) && skip_bad) {
            (*ret_skipped)++;
            r = 0;
        } else if (r < 0) {
            r = cb_err_prefix(err, r, "%s:%" PRIu64, path, n_frames + 1);
        }
        n_frames += record.kind == CB_RECORDING_FRAME;
    }
    reader = cb_recording_free(reader);
    if (file)
        (void)fclose(file);
    return r;
}

/* --- frames as reports --- */

struct reporting {
    struct cb_dictionary *dictionary;
    cb_replay_each_report *each;
    void *context;
};

static int report_record(void *context, const struct cb_recording_record *record,
                         struct cb_err *err)
{
    struct reporting *reporting = context;
    const char *const *names = NULL;
    struct cb_frame frame;
    int r;

    if (record->kind == CB_RECORDING_TARGET)
        return cb_dictionary_put(reporting->dictionary, record->machine, record->start_id,
                                 record->target, record->name, err);
    if (record->kind != CB_RECORDING_FRAME)
        return 0; /* what another model had learnt */
    r = cb_frame_decode(record->bytes, record->size, &frame, err);
    if (r < 0)
        return r;
    r = cb_dictionary_names(reporting->dictionary, &frame, &names, err);
    if (r == 0)
        r = cb_frame_reports(&frame, names, reporting->each, reporting->context, err);
    cb_frame_clear(&frame);
    return r;
}

static int report_frames(const char *path, bool skip_bad, cb_replay_each_report *each,
                         void *context, struct cb_replay_reading *ret_reading, struct cb_err *err)
{
    struct reporting reporting = {.each = each, .context = context};
    int r = cb_dictionary_new(&reporting.dictionary, err);

    if (r == 0)
        r = cb_replay_records(path, skip_bad, report_record, &reporting, &ret_reading->skipped,
                              err);
    reporting.dictionary = cb_dictionary_free(reporting.dictionary);
    return r;
}

int cb_replay_reports(const char *input, bool skip_bad, bool last_wins, cb_replay_each_report *each,
                      void *context, struct cb_replay_reading *ret_reading, struct cb_err *err)
{
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    FILE *file = NULL;
    int r;

    if (cb_replay_recording(input))
        return report_frames(cb_replay_recording(input), skip_bad, each, context, ret_reading, err);
    if (strncmp(input, "hwpc-csv:", 9) == 0) {
        r = cb_hwpc_reader_csv(input + 9, skip_bad, last_wins, &reader, err);
    } else if (strncmp(input, "hwpc-json:", 10) == 0) {
        r = cb_infile_open(input + 10, &file, err);
        if (r == 0)
            r = cb_hwpc_reader_json(file, input + 10, skip_bad, &reader, err);
        if (r == 0 && !last_wins)
            cb_hwpc_reader_by_time(reader);
    } else {
        r = cb_err_set(err, EINVAL,
                       "--in '%.100s': use hwpc-json:FILE, hwpc-csv:DIR or frames:FILE", input);
    }
    while (r == 0) {
        r = cb_hwpc_reader_next(reader, &report, err);
        if (r < 0 || !report)
            break;
        r = each(context, report, err);
    }
    if (reader)
        *ret_reading = (struct cb_replay_reading){.skipped = cb_hwpc_reader_skipped(reader),
                                                  .duplicates = cb_hwpc_reader_duplicates(reader)};
    reader = cb_hwpc_reader_free(reader);
    if (file)
        (void)fclose(file);
    return r;
}
