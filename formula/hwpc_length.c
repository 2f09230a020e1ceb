/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_length.c - see hwpc_length.h. */
#include "formula/hwpc_length.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lib/hwpc.h"

#define LEAST_OF_TICK 0.01 /* a time below or above that of a tick is none of it */
#define MOST_OF_TICK 4

void cb_hwpc_length_init(struct cb_hwpc_length *length, uint64_t nominal_ns)
{
    *length = (struct cb_hwpc_length){.nominal_ns = nominal_ns, .last_ms = -1, .enabled_ms = -1};
}

void cb_hwpc_length_clock_set(struct cb_hwpc_length *length)
{
    length->last_ms = length->enabled_ms = -1;
}

/* time_enabled of the first CPU that the rapl group names; 0: there is none. */
static double rapl_enabled(const struct cb_hwpc_report *all)
{
    for (size_t i = 0; all && i < all->n_counts; i++) {
        if (strcmp(all->counts[i].group, "rapl") == 0 &&
            strcmp(all->counts[i].event, "time_enabled") == 0)
            return all->counts[i].value;
    }
    return 0;
}

/* Wall time since the last tick (0: not known), since the last reading of the RAPL event's time,
 * from this tick to the next. */
struct passed {
    double tick_ns, reading_ns, next_ns;
};

static double fallback_ns(const struct cb_hwpc_length *length, const struct passed *passed)
{
    return passed->tick_ns > 0 ? passed->tick_ns : (double)length->nominal_ns;
}

/* Can a tick be so long? Against both what passed and the nominal period, for either may be wrong:
 * a tick after a gap is short for what passed, and the period may be set for another sensor. */
static bool is_plausible(const struct cb_hwpc_length *length, double length_ns,
                         const struct passed *passed)
{
    double nominal_ns = (double)length->nominal_ns;
    double passed_ns = passed->tick_ns > 0 ? passed->tick_ns : passed->next_ns;

    if (!(passed_ns > 0))
        passed_ns = nominal_ns;
    return length_ns >= LEAST_OF_TICK * fmin(passed_ns, nominal_ns) &&
           length_ns <= MOST_OF_TICK * fmax(fmax(passed_ns, passed->reading_ns), nominal_ns);
}

/* Two readings @passed_ns of wall time apart: do they look like sums since the start or like the
 * tick's own time? A sum grows by the tick, a tick's own time stays about what it was. Where that
 * does not tell, they are what they were. */
static enum cb_hwpc_time_kind kind_of(enum cb_hwpc_time_kind kind, double before, double now,
                                      double passed_ns)
{
    double as_sum = fabs(now - before - passed_ns), as_tick = fabs(now - passed_ns);

    if (now <= before)
        return CB_HWPC_TIME_PER_TICK;
    if (passed_ns > 0 && as_sum < 0.1 * passed_ns && as_tick >= 0.1 * passed_ns)
        return CB_HWPC_TIME_CUMULATIVE;
    if (passed_ns > 0 && as_tick < 0.1 * passed_ns && as_sum >= 0.1 * passed_ns)
        return CB_HWPC_TIME_PER_TICK;
    if (kind == CB_HWPC_TIME_UNKNOWN &&
        (now - before > 0.25 * before || (passed_ns > 0 && now > 4 * passed_ns)))
        return CB_HWPC_TIME_CUMULATIVE;
    return kind == CB_HWPC_TIME_UNKNOWN ? CB_HWPC_TIME_PER_TICK : kind;
}

/* Sums that go back: a report with a wrong timestamp, once; a sensor that began anew when they are
 * small; otherwise they were no sums. A sum that stands still stays one. */
static bool goes_back(struct cb_hwpc_length *length, double now, const struct passed *passed)
{
    if (length->kind != CB_HWPC_TIME_CUMULATIVE || now > length->last_enabled_ns) {
        length->backwards = 0;
        return false;
    }
    if (now == length->last_enabled_ns && !is_plausible(length, now, passed))
        return true;
    if (now < 0.5 * length->last_enabled_ns) {
        length->last_enabled_ns = 0;
        return false;
    }
    length->kind = ++length->backwards > 1 ? CB_HWPC_TIME_PER_TICK : CB_HWPC_TIME_CUMULATIVE;
    return length->kind == CB_HWPC_TIME_CUMULATIVE;
}

/* What the reading @now says; 0: nothing. @next: the following tick's. */
static double told_ns(struct cb_hwpc_length *length, const struct passed *passed, double now,
                      double next)
{
    double before;

    if (!(now > 0) || goes_back(length, now, passed))
        return 0;
    before = length->last_enabled_ns;
    length->last_enabled_ns = now;
    if (before > 0 && length->kind != CB_HWPC_TIME_CUMULATIVE)
        length->kind = kind_of(length->kind, before, now, passed->tick_ns);
    else if (before == 0 && next > 0)
        length->kind = kind_of(CB_HWPC_TIME_UNKNOWN, now, next, passed->next_ns);
    if (length->kind != CB_HWPC_TIME_CUMULATIVE)
        return now;
    if (before > 0)
        return now - before;
    return now <= 2 * fallback_ns(length, passed) ? now
                                                  : 0; /* the first since the sensor's start */
}

/* 0: @before_ms is none. */
static double ns_between(int64_t before_ms, int64_t ms)
{
    return before_ms >= 0 ? (double)(ms - before_ms) * 1e6 : 0;
}

double cb_hwpc_length_tick(struct cb_hwpc_length *length, int64_t timestamp_ms,
                           const struct cb_hwpc_report *all, const struct cb_hwpc_report *next_all)
{
    double enabled = rapl_enabled(all), told;
    const struct passed passed = {
        .tick_ns = ns_between(length->last_ms, timestamp_ms),
        .reading_ns = ns_between(length->enabled_ms, timestamp_ms),
        .next_ns = next_all ? ns_between(timestamp_ms, next_all->timestamp_ms) : 0,
    };

    told = told_ns(length, &passed, enabled, rapl_enabled(next_all));
    length->last_ms = timestamp_ms;
    if (enabled > 0)
        length->enabled_ms = timestamp_ms;
    return is_plausible(length, told, &passed) ? told : fallback_ns(length, &passed);
}
