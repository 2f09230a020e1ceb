/* SPDX-License-Identifier: Apache-2.0 */
/*
 * render.h - recaps for people: one column for each, side by side.
 *
 * Joules are shown with three decimals, watts are joules by the seconds that frames cover. A figure
 * that comes from an estimate says "(estimate)" itself, in every cell, and a line below says what
 * that means. Package and dram are added up to a total; nested domains never are.
 */
#ifndef CB_TESTER_RENDER_H
#define CB_TESTER_RENDER_H

#include <stdio.h>

#include "tester/report.h"

/* -ENOMEM; errors of @out stay in it (ferror()). */
int cb_render_reports(const struct cb_report *reports, size_t n, FILE *out,
                      struct cb_err *err) cb_must_check;

#endif
