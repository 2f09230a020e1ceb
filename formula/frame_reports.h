/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_reports.h - a frame as the reports PowerAPI's sensor would have made of its tick, for the
 * reference model.
 *
 * all      group rapl: energy in 2^-32 J under RAPL's event names (RAPL_ENERGY_PKG, ...), without
 *          what is an estimate, for PowerAPI measures only; group msr: TSC, APERF, MPERF as far as
 *          they were read.
 * targets  group core: their counts but those of software events (cpu-clock), which it has not;
 *          cycles, ref-cycles and instructions under the names PowerAPI's configurations have for
 *          them. Targets of one name are one report.
 * rest     one more target, CB_FRAME_REPORTS_REST: what the machine counted beyond all targets,
 *          which PowerAPI's sensor would have found as cgroups of their own. Where the frame has no
 *          row of the machine there is none.
 * Each socket has one CPU, "0", that stands for all. Without time_enabled and time_running: the
 * reference looks at neither.
 */
#ifndef CB_FORMULA_FRAME_REPORTS_H
#define CB_FORMULA_FRAME_REPORTS_H

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/hwpc.h"

struct cb_err;

#define CB_FRAME_REPORTS_REST "/rest"

/* Owns the report. A negative value ends the frame with it. */
typedef int cb_frame_each_report(void *context, struct cb_hwpc_report *report, struct cb_err *err);

/* @names: of the frame's targets, in their order. `all` comes first. -ENOMEM */
int cb_frame_reports(const struct cb_frame *frame, const char *const *names,
                     cb_frame_each_report *each, void *context, struct cb_err *err) cb_must_check;

#endif
