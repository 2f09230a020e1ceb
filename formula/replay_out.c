/* SPDX-License-Identifier: Apache-2.0 */
/* replay_out.c - see replay_out.h. */
#include "formula/replay_out.h"

#include <inttypes.h>
#include <math.h>

#include "formula/power.h"

static void put_text(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            (void)fprintf(out, "\\%c", c);
        else if (c < 0x20)
            (void)fprintf(out, "\\u%04x", c);
        else
            (void)fputc(c, out);
    }
    (void)fputc('"', out);
}

/* Containers and system: what a proportional share of idle is taken of. */
static uint64_t dynamic_of(const struct cb_result *result, size_t d)
{
    uint64_t sum = result->domains[d].system_uj;

    for (size_t i = 0; i < result->n_targets; i++)
        sum += result->shares[d * result->n_targets + i].dynamic_uj;
    return sum;
}

static uint64_t halfwidth_of(const struct cb_result *result, size_t d, size_t i)
{
    return cb_share_uncertainty(&result->domains[d], &result->shares[d * result->n_targets + i]);
}

static void put_targets(FILE *out, const struct cb_replay_tick *tick, size_t d,
                        enum cb_idle_policy idle)
{
    const struct cb_result *result = tick->result;
    uint64_t all_uj = dynamic_of(result, d);

    for (size_t i = 0; i < result->n_targets; i++) {
        uint64_t dynamic_uj = result->shares[d * result->n_targets + i].dynamic_uj;

        (void)fputs(i ? ",{\"target\":" : "{\"target\":", out);
        put_text(out, tick->target_names[i]);
        (void)fprintf(out, ",\"dynamic_uj\":%" PRIu64 ",\"uncertainty_uj\":%" PRIu64, dynamic_uj,
                      halfwidth_of(result, d, i));
        if (idle != CB_IDLE_NONE)
            (void)fprintf(out, ",\"idle_share_uj\":%" PRIu64,
                          cb_idle_share(idle, result->domains[d].idle_uj, dynamic_uj, all_uj,
                                        result->n_targets));
        (void)fputc('}', out);
    }
}

static void put_source(FILE *out, const struct cb_replay_tick *tick,
                       const struct cb_result_domain *domain, bool name_weight)
{
    (void)fprintf(out, ",\"source\":\"%s", cb_source_name((enum cb_source)domain->source));
    if (name_weight)
        (void)fprintf(out, ", by %s", tick->weight ? tick->weight : "nothing");
    (void)fputc('"', out);
}

void cb_replay_out_json(FILE *out, const struct cb_replay_tick *tick, enum cb_idle_policy idle,
                        bool name_weight)
{
    const struct cb_result *result = tick->result;
    uint64_t length_ns = result->t1_ns - result->t0_ns;

    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];

        (void)fprintf(out, "{\"t0_ns\":%" PRIu64 ",\"t1_ns\":%" PRIu64 ",\"machine\":",
                      result->wall_ns > length_ns ? result->wall_ns - length_ns : 0,
                      result->wall_ns);
        put_text(out, tick->machine);
        (void)fprintf(out, ",\"socket\":%u,\"domain\":\"%s\"", domain->socket,
                      cb_domain_name((enum cb_domain)domain->domain));
        put_source(out, tick, domain, name_weight);
        (void)fprintf(out,
                      ",\"energy_uj\":%" PRIu64 ",\"idle_uj\":%" PRIu64 ",\"system_uj\":%" PRIu64
                      ",\"unattributed_uj\":%" PRIu64 ",\"uncertainty_uj\":%" PRIu64
                      ",\"targets\":[",
                      domain->energy_uj, domain->idle_uj, domain->system_uj,
                      domain->unattributed_uj, domain->source_uncertainty_uj);
        put_targets(out, tick, d, idle);
        (void)fputs("]}\n", out);
    }
}

/* --- PowerAPI --- */

static void put_power(FILE *out, int64_t timestamp_ms, const char *sensor, const char *target,
                      double power_w, const char *scope)
{
    (void)fprintf(out, "{\"timestamp\":%" PRId64 ",\"sensor\":", timestamp_ms);
    put_text(out, sensor);
    (void)fputs(",\"target\":", out);
    put_text(out, target);
    (void)fprintf(out, ",\"power\":%.17g,\"metadata\":{\"scope\":\"%s\",\"socket\":", power_w,
                  scope);
}

static void put_tick_power(FILE *out, const struct cb_replay_tick *tick, size_t d,
                           const char *target, double power_w, const char *formula, double ratio)
{
    const struct cb_result_domain *domain = &tick->result->domains[d];

    put_power(out, (int64_t)(tick->result->wall_ns / 1000000), tick->machine, target, power_w,
              domain->domain == CB_DOMAIN_DRAM ? "dram" : "cpu");
    (void)fprintf(out, "\"%u\",\"formula\":\"%s\",\"ratio\":%.17g}}\n", domain->socket, formula,
                  ratio);
}

void cb_replay_out_powerapi(FILE *out, const struct cb_replay_tick *tick, enum cb_idle_policy idle,
                            const char *model)
{
    const struct cb_result *result = tick->result;
    double w_per_uj = 1e3 / (double)(result->t1_ns - result->t0_ns);

    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];
        uint64_t all_uj = dynamic_of(result, d);

        if (!cb_domain_is_top((enum cb_domain)domain->domain))
            continue;
        put_tick_power(out, tick, d, "rapl", (double)domain->energy_uj * w_per_uj,
                       cb_source_name((enum cb_source)domain->source), 1);
        if (isfinite(domain->predicted_w))
            put_tick_power(out, tick, d, "global", domain->predicted_w, model, 1);
        for (size_t i = 0; i < result->n_targets; i++) {
            uint64_t own_uj = result->shares[d * result->n_targets + i].dynamic_uj;
            uint64_t idle_uj =
                cb_idle_share(idle, domain->idle_uj, own_uj, all_uj, result->n_targets);

            put_tick_power(out, tick, d, tick->target_names[i],
                           (double)(own_uj + idle_uj) * w_per_uj, model,
                           all_uj > 0 ? (double)own_uj / (double)all_uj : 0);
        }
    }
}

void cb_replay_out_smartwatts(FILE *out, const struct cb_smartwatts_power *power)
{
    put_power(out, power->timestamp_ms, power->sensor, power->target, power->power_w,
              power->scope == CB_SMARTWATTS_DRAM ? "dram" : "cpu");
    put_text(out, power->socket);
    (void)fputs(",\"formula\":", out);
    if (power->reference)
        put_text(out, power->reference);
    else
        (void)fprintf(out, "\"smartwatts-%.0f-%" PRIu64 "\"", power->layer_mhz, power->id);
    (void)fprintf(out, ",\"ratio\":%.17g%s}}\n", power->ratio,
                  power->metadata ? power->metadata : "");
}
