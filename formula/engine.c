/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - see engine.h. */
#include "formula/engine.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "formula/attribute.h"
#include "formula/engine_private.h"
#include "formula/features.h"
#include "lib/err.h"

#define NORMAL_95 1.96

int cb_engine_new(const struct cb_engine_options *options, struct cb_engine **ret_engine,
                  struct cb_err *err)
{
    struct cb_engine *engine = calloc(1, sizeof(*engine));

    if (!engine)
        return cb_err_set(err, ENOMEM, "out of memory for an engine");
    engine->kind = options->model;
    *ret_engine = engine;
    return 0;
}

struct cb_engine *cb_engine_free(struct cb_engine *engine)
{
    if (engine) {
        for (size_t i = 0; i < engine->n_models; i++)
            free(engine->models[i]);
        free(engine->models);
        cb_features_clear(&engine->features);
        free(engine->work);
        free(engine->predictions);
        free(engine->parts);
        free(engine);
    }
    return NULL;
}

uint64_t cb_engine_violations(const struct cb_engine *engine)
{
    return engine->violations;
}

const char *cb_engine_weight(const struct cb_engine *engine)
{
    return engine->features.weight_name;
}

int cb_engine_add_model(struct cb_engine *engine, uint16_t socket, uint8_t domain,
                        struct cb_engine_model **ret_model, struct cb_err *err)
{
    struct cb_engine_model *model = calloc(1, sizeof(*model));
    struct cb_engine_model **models;

    if (!model)
        return cb_err_set(err, ENOMEM, "out of memory for a model");
    models = realloc(engine->models, (engine->n_models + 1) * sizeof(struct cb_engine_model *));
    if (!models) {
        free(model);
        return cb_err_set(err, ENOMEM, "out of memory for a model");
    }
    model->socket = socket;
    model->domain = domain;
    if (engine->kind == CB_MODEL_CPUTIME) {
        for (size_t w = 0; w < CB_WEIGHTS; w++)
            cb_cputime_init(&model->cputime[w]);
    } else {
        cb_cbwatts_init(&model->cbwatts);
    }
    engine->models = models;
    engine->models[engine->n_models++] = model;
    *ret_model = model;
    return 0;
}

static int find_model(struct cb_engine *engine, uint16_t socket, uint8_t domain,
                      struct cb_engine_model **ret_model, struct cb_err *err)
{
    for (size_t i = 0; i < engine->n_models; i++) {
        if (engine->models[i]->socket == socket && engine->models[i]->domain == domain) {
            *ret_model = engine->models[i];
            return 0;
        }
    }
    return cb_engine_add_model(engine, socket, domain, ret_model, err);
}

static int reserve(struct cb_engine *engine, size_t n_rows, struct cb_err *err)
{
    size_t room = n_rows + n_rows / 2;

    if (n_rows <= engine->room)
        return 0;

    cb_auto_free struct cb_attribute_work *work = calloc(room, sizeof(*work));
    cb_auto_free double *predictions = calloc(room, sizeof(*predictions));
    cb_auto_free uint64_t *parts = calloc(room, sizeof(*parts));

    if (!work || !predictions || !parts)
        return cb_err_set(err, ENOMEM, "out of memory for %zu targets", n_rows);
    free(engine->work);
    free(engine->predictions);
    free(engine->parts);
    engine->work = cb_take(work);
    engine->predictions = cb_take(predictions);
    engine->parts = cb_take(parts);
    engine->room = room;
    return 0;
}

/* --- what one domain of one frame is made of --- */

struct domain_tick {
    const struct cb_features *features;
    size_t first_socket, end_socket; /* whose counters belong to the domain */
    struct cb_model_tick tick;
    double cpu_rate; /* total of the CPU-time weight */
    bool counted, uncounted;
    double power_w;
    double predicted_w;
    struct cb_model_estimate estimate;
};

/* Of the full power, as measured servers have it (docs/model.md, Prior). */
static const double idle_shares[CB_DOMAIN_COUNT] = {
    [CB_DOMAIN_PACKAGE] = 0.2, [CB_DOMAIN_DRAM] = 0.5,  [CB_DOMAIN_CORE] = 0.1,
    [CB_DOMAIN_UNCORE] = 0.5,  [CB_DOMAIN_PSYS] = 0.35,
};

/* PSYS is around all sockets; every other domain is its socket's. */
static void gather(const struct cb_engine *engine, const struct cb_frame_energy *energy,
                   struct cb_engine_model *model, double seconds, struct domain_tick *domain)
{
    const struct cb_features *features = &engine->features;
    bool all = energy->domain == CB_DOMAIN_PSYS;
    double frequency = 0, n_frequencies = 0;

    *domain = (struct domain_tick){.features = features, .counted = true};
    domain->first_socket = all ? 0 : energy->socket;
    domain->end_socket = all ? features->n_sockets : (size_t)energy->socket + 1;
    if (domain->end_socket > features->n_sockets)
        domain->first_socket = domain->end_socket = 0;
    domain->power_w = (double)energy->energy_uj / 1e6 / seconds;
    domain->tick.seconds = seconds;
    domain->tick.n_events = features->n_columns;
    domain->tick.weak = features->weak;
    domain->tick.memory = features->memory;
    domain->tick.clocks = features->clocks;
    if (energy->domain == CB_DOMAIN_DRAM && features->memory)
        domain->tick.clocks = features->memory;
    domain->tick.busy = features->busy;
    domain->tick.idle_share = idle_shares[energy->domain];
    for (size_t s = domain->first_socket; s < domain->end_socket; s++) {
        const struct cb_socket_features *socket = &features->sockets[s];

        for (size_t c = 0; c < features->n_columns; c++)
            domain->tick.rates[c] += socket->total[c];
        domain->cpu_rate += socket->total_cpu;
        domain->counted &= socket->counted;
        domain->uncounted |= socket->uncounted;
        frequency += socket->frequency;
        n_frequencies += socket->frequency > 0;
    }
    if (n_frequencies > 0)
        model->frequency = frequency / n_frequencies;
    if (energy->domain != CB_DOMAIN_DRAM)
        domain->tick.frequency = model->frequency; /* a tick without one has the last */
}

/*
 * Predict by what is known, learn from the tick, then estimate what its energy is shared out by: a
 * container's first tick tells of itself. Ticks whose counters are missing are not learnt from;
 * where there never were any, the level of the power is.
 */
static void run_model(const struct cb_engine *engine, struct cb_engine_model *model,
                      struct domain_tick *domain)
{
    bool known = domain->end_socket > domain->first_socket;
    bool whole = domain->counted && (engine->features.has_system || !domain->uncounted);
    bool learns = known && (whole || domain->tick.n_events == 0);

    if (engine->kind == CB_MODEL_CPUTIME) {
        struct cb_cputime *line = &model->cputime[engine->features.weight];

        domain->predicted_w = cb_cputime_predict(line, domain->cpu_rate);
        if (learns)
            cb_cputime_learn(line, domain->cpu_rate, domain->power_w);
        cb_cputime_estimate(line, domain->cpu_rate, domain->power_w, &domain->estimate);
    } else {
        domain->predicted_w = cb_cbwatts_predict(&model->cbwatts, &domain->tick);
        if (learns)
            cb_cbwatts_learn(&model->cbwatts, &domain->tick, domain->power_w);
        cb_cbwatts_estimate(&model->cbwatts, &domain->tick, domain->power_w, &domain->estimate);
    }
    if (!known)
        domain->predicted_w = (double)NAN;
}

/* The model's columns of one row: one CPU-time weight, or the events' rates. */
static const double *row_of(const struct cb_engine *engine, size_t socket, size_t row)
{
    const struct cb_features *features = &engine->features;
    size_t at = socket * features->n_rows + row;

    return engine->kind == CB_MODEL_CPUTIME ? features->cpu + at
                                            : features->rates + at * features->n_columns;
}

static size_t columns_of(const struct cb_engine *engine)
{
    return engine->kind == CB_MODEL_CPUTIME ? 1 : engine->features.n_columns;
}

static void predict_rows(struct cb_engine *engine, const struct domain_tick *domain)
{
    size_t n = columns_of(engine);

    for (size_t row = 0; row < engine->features.n_rows; row++) {
        double sum = 0;

        for (size_t s = domain->first_socket; s < domain->end_socket; s++) {
            const double *rates = row_of(engine, s, row);

            for (size_t c = 0; c < n; c++)
                sum += domain->estimate.coef_w[c] * rates[c];
        }
        engine->predictions[row] = sum;
    }
}

/* Where the weights call everything idle, activity is shared by the best clock. */
static void predict_by_clocks(struct cb_engine *engine, struct domain_tick *domain)
{
    for (size_t c = 0; c < columns_of(engine); c++)
        domain->estimate.coef_w[c] =
            engine->kind == CB_MODEL_CPUTIME || domain->tick.clocks >> c & 1 ? 1 : 0;
    predict_rows(engine, domain);
}

/* --- uncertainty --- */

struct spread {
    double split_uj2[CB_MODEL_EVENTS * CB_MODEL_EVENTS]; /* covariance, in (uJ per rate)^2 */
    double coef_sum_w;                                   /* predicted dynamic power of everything */
    double concentration;                                /* sum of the squares of all shares */
    double energy_uj, shared_uj; /* the whole tick's, and what of it is not idle */
    double idle_sd_uj, noise_uj, structure_uj;
};

static float bounded(double uj, double most_uj)
{
    return (float)fmin(uj > 0 ? uj : 0, most_uj);
}

/*
 * The share s = d / D of one row errs by
 *   what its mix of events differs from the whole's (the coefficients' covariance),
 *   its part of the error of idle,
 *   what the model's shape misses, which may be one row's as well as another's: s (1 - s),
 *   what no counter tells: every row's own factor, its own and through the sum the others';
 * and, tick by tick, by its part of the noise.
 */
static void row_spread(const struct cb_engine *engine, const struct domain_tick *domain,
                       const struct spread *spread, size_t row, struct cb_share *share)
{
    size_t n = columns_of(engine);
    double difference[CB_MODEL_EVENTS];
    double s = engine->predictions[row] / spread->coef_sum_w;
    double variance = 0, unseen_uj;

    for (size_t c = 0; c < n; c++) {
        double rate = 0;

        for (size_t k = domain->first_socket; k < domain->end_socket; k++)
            rate += row_of(engine, k, row)[c];
        difference[c] = rate - s * (n == 1 ? domain->cpu_rate : domain->tick.rates[c]);
    }
    for (size_t i = 0; i < n; i++) {
        double sum = 0;

        for (size_t j = 0; j < n; j++)
            sum += spread->split_uj2[i * n + j] * difference[j];
        variance += difference[i] * sum;
    }
    variance = fmax(variance, 0);
    variance += spread->idle_sd_uj * spread->idle_sd_uj * s * s;
    variance += spread->structure_uj * spread->structure_uj * s * (1 - fmin(s, 1));
    unseen_uj = domain->estimate.unseen_share * spread->shared_uj * s;
    variance +=
        unseen_uj * unseen_uj * ((1 - s) * (1 - s) + fmax(spread->concentration - s * s, 0));
    share->param_uj = bounded(NORMAL_95 * sqrt(variance), spread->energy_uj);
    share->noise_uj = bounded(NORMAL_95 * spread->noise_uj * s, spread->energy_uj);
}

static void fill_spread(const struct cb_engine *engine, const struct domain_tick *domain,
                        double energy_uj, double dynamic_uj, struct spread *spread)
{
    size_t n = columns_of(engine);
    double uj_per_w = domain->tick.seconds * 1e6;
    double scale;

    *spread = (struct spread){.energy_uj = energy_uj, .shared_uj = dynamic_uj};
    for (size_t row = 0; row < engine->features.n_rows; row++)
        spread->coef_sum_w += engine->predictions[row];
    scale = spread->coef_sum_w > 0 ? dynamic_uj / spread->coef_sum_w : 0;
    for (size_t row = 0; row < engine->features.n_rows && spread->coef_sum_w > 0; row++) {
        double share = engine->predictions[row] / spread->coef_sum_w;

        spread->concentration += share * share;
    }
    for (size_t i = 0; i < n * n; i++)
        spread->split_uj2[i] = domain->estimate.cov[i] * scale * scale;
    spread->idle_sd_uj = domain->estimate.idle_sd_w * uj_per_w;
    spread->noise_uj = domain->estimate.noise_w * uj_per_w;
    spread->structure_uj = domain->estimate.structure_w * uj_per_w;
}

/* --- the parts of one domain --- */

/* Without a machine's row what was not counted has no counts at all: it is what the others, by what
 * is known of them, do not explain. */
static void predict_uncounted(struct cb_engine *engine, const struct domain_tick *domain)
{
    size_t n_targets = engine->features.n_rows - 1;
    double rest_w = domain->power_w - domain->estimate.idle_w;

    if (!domain->uncounted || engine->features.has_system)
        return;
    for (size_t i = 0; i < n_targets; i++)
        rest_w -= engine->predictions[i];
    engine->predictions[n_targets] = fmax(0, rest_w);
}

/* With a target of which nothing is known, what looks like the system's may be its: nobody's. */
static void place_system(const struct domain_tick *domain, uint64_t system_uj,
                         const struct cb_share *spread, struct cb_result_domain *out)
{
    if (domain->uncounted) {
        out->unattributed_uj += system_uj;
        return;
    }
    out->system_uj = system_uj;
    out->system_param_uj = spread->param_uj;
    out->system_noise_uj = spread->noise_uj;
}

/* Nothing was counted of it, on a socket of the domain. */
static bool is_unknown(const struct cb_engine *engine, const struct domain_tick *domain, size_t row)
{
    for (size_t s = domain->first_socket; s < domain->end_socket; s++) {
        if (engine->features.unknown[s * engine->features.n_rows + row])
            return true;
    }
    return false;
}

/* Such a target may have used all that is nobody's. */
static void widen_unknown(const struct cb_engine *engine, const struct domain_tick *domain,
                          const struct cb_result_domain *out, struct cb_share *shares)
{
    for (size_t i = 0; domain->uncounted && i + 1 < engine->features.n_rows; i++) {
        if (is_unknown(engine, domain, i))
            shares[i].param_uj = bounded((double)shares[i].param_uj + (double)out->unattributed_uj,
                                         (double)out->energy_uj);
    }
}

static void share_dynamic(struct cb_engine *engine, struct domain_tick *domain, uint64_t dynamic_uj,
                          struct cb_result_domain *out, struct cb_share *shares)
{
    size_t n_targets = engine->features.n_rows - 1;
    struct cb_share system = {0};
    struct spread spread;

    predict_rows(engine, domain);
    predict_uncounted(engine, domain);
    if (cb_attribute(dynamic_uj, engine->predictions, n_targets + 1, engine->work, engine->parts) !=
        dynamic_uj) {
        predict_by_clocks(engine, domain);
        if (cb_attribute(dynamic_uj, engine->predictions, n_targets + 1, engine->work,
                         engine->parts) != dynamic_uj) {
            out->unattributed_uj += dynamic_uj;
            widen_unknown(engine, domain, out, shares);
            return;
        }
    }
    fill_spread(engine, domain, (double)out->energy_uj, (double)dynamic_uj, &spread);
    for (size_t i = 0; i < n_targets; i++) {
        shares[i].dynamic_uj = engine->parts[i];
        if (engine->predictions[i] > 0 && spread.coef_sum_w > 0)
            row_spread(engine, domain, &spread, i, &shares[i]);
    }
    if (engine->predictions[n_targets] > 0 && spread.coef_sum_w > 0)
        row_spread(engine, domain, &spread, n_targets, &system);
    place_system(domain, engine->parts[n_targets], &system, out);
    widen_unknown(engine, domain, out, shares);
}

static void fill_domain(struct cb_engine *engine, const struct cb_frame_energy *energy,
                        struct domain_tick *domain, struct cb_result_domain *out,
                        struct cb_share *shares)
{
    const struct cb_model_estimate *estimate = &domain->estimate;
    double idle_uj = estimate->idle_w * domain->tick.seconds * 1e6;
    double idle_sd_uj = estimate->idle_sd_w * domain->tick.seconds * 1e6;

    out->socket = energy->socket;
    out->domain = energy->domain;
    out->source = energy->source;
    out->energy_uj = energy->energy_uj;
    out->source_uncertainty_uj = energy->uncertainty_uj;
    out->predicted_w = domain->predicted_w;
    out->flags = (estimate->prior ? (uint32_t)CB_RESULT_PRIOR : 0) |
                 (engine->features.has_system ? 0 : (uint32_t)CB_RESULT_NO_SYSTEM) |
                 (!domain->counted || domain->uncounted ? (uint32_t)CB_RESULT_GAP : 0);
    out->idle_uj = idle_uj < (double)energy->energy_uj ? (uint64_t)llrint(fmax(0, idle_uj))
                                                       : energy->energy_uj;
    if (out->idle_uj > energy->energy_uj)
        out->idle_uj = energy->energy_uj;
    out->idle_param_uj = bounded(NORMAL_95 * idle_sd_uj, (double)energy->energy_uj);
    share_dynamic(engine, domain, energy->energy_uj - out->idle_uj, out, shares);
}

/* --- CPU time --- */

static uint64_t row_cpu_ns(const struct cb_frame *frame, size_t stat, size_t row)
{
    uint64_t sum = 0;
    bool any = false;

    if (stat != SIZE_MAX && frame->stats[row * frame->n_stats + stat] != CB_STAT_ABSENT)
        return frame->stats[row * frame->n_stats + stat];
    if (row == 0) /* machine-wide, the clock event counts idle time too */
        return CB_STAT_ABSENT;
    for (size_t e = 0; e < frame->n_events; e++) {
        if (strcmp(frame->events[e].name, "cpu-clock") != 0)
            continue;
        any = true;
        for (size_t s = 0; s < frame->n_sockets; s++)
            sum += cb_frame_count(frame, row, s, e);
    }
    return any ? sum : CB_STAT_ABSENT;
}

static void fill_cpu_times(const struct cb_frame *frame, struct cb_result *result)
{
    size_t stat = cb_features_stat(frame, "cpu_ns");

    result->machine_cpu_ns = row_cpu_ns(frame, stat, 0);
    for (size_t i = 0; i < frame->n_targets; i++) {
        result->target_ids[i] = frame->targets[i].id;
        result->target_cpu_ns[i] = row_cpu_ns(frame, stat, i + 1);
    }
}

int cb_engine_frame(struct cb_engine *engine, const struct cb_frame *frame,
                    struct cb_result *result, struct cb_err *err)
{
    double seconds = (double)(frame->t1_ns - frame->t0_ns) / 1e9;
    int r = cb_result_reserve(result, frame->n_energies, frame->n_targets, err);

    if (r == 0)
        r = cb_features_fill(&engine->features, &engine->columns, frame, err);
    if (r == 0)
        r = reserve(engine, frame->n_targets + 1, err);
    if (r < 0)
        return r;
    result->t0_ns = frame->t0_ns;
    result->t1_ns = frame->t1_ns;
    result->wall_ns = frame->wall_ns;
    fill_cpu_times(frame, result);
    for (size_t d = 0; d < frame->n_energies; d++) {
        const struct cb_frame_energy *energy = &frame->energies[d];
        struct cb_engine_model *model = NULL;
        struct domain_tick domain;

        r = find_model(engine, energy->socket, energy->domain, &model, err);
        if (r < 0)
            return r;
        gather(engine, energy, model, seconds, &domain);
        run_model(engine, model, &domain);
        fill_domain(engine, energy, &domain, &result->domains[d],
                    result->shares + d * frame->n_targets);
    }
    engine->violations += cb_result_violations(result);
    return 0;
}
