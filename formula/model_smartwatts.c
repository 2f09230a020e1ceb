/* SPDX-License-Identifier: Apache-2.0 */
/* model_smartwatts.c - see model_smartwatts.h. */
#include "formula/model_smartwatts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define ALPHA 1.0
#define L1_RATIO 0.5
#define MAX_ITERATIONS 1000
#define TOLERANCE 1e-4

/* A window that forgets its oldest entry. Entries are `width` doubles; kept in time order. */
struct window {
    size_t n, most, width;
    double *values;
};

struct layer {
    bool learnt;
    uint64_t id;
    struct cb_smartwatts_fit fit;
    struct window x, y, errors;
};

struct cb_smartwatts {
    struct cb_smartwatts_options options;
    bool stopped;
    size_t n_events;               /* of the last tick */
    size_t last;                   /* layer of the last tick */
    struct cb_smartwatts_fit used; /* what its predictions were made with */
    uint64_t used_id;
    double global_w;
    struct layer layers[CB_SMARTWATTS_LAYERS + 1]; /* [k]: k x base clock */
    double *scratch;                               /* centred copy of a history, residuals */
    size_t scratch_size;
    cb_smartwatts_observer *observer;
    void *observer_data;
};

static int window_push(struct window *window, size_t most, size_t width, const double *entry,
                       struct cb_err *err)
{
    if (!window->values) {
        window->values = calloc(most * width, sizeof(double));
        if (!window->values)
            return cb_err_set(err, ENOMEM, "out of memory for a window of %zu samples", most);
        window->most = most;
        window->width = width;
    }
    if (window->n == window->most) {
        memmove(window->values, window->values + width, (most - 1) * width * sizeof(double));
        window->n--;
    }
    memcpy(window->values + window->n * width, entry, width * sizeof(double));
    window->n++;
    return 0;
}

int cb_smartwatts_new(const struct cb_smartwatts_options *options, struct cb_smartwatts **ret_model,
                      struct cb_err *err)
{
    struct cb_smartwatts *model = calloc(1, sizeof(*model));

    if (!model)
        return cb_err_set(err, ENOMEM, "out of memory for a model");
    model->options = *options;
    model->options.base_freq_mhz =
        floor(options->base_freq_mhz / options->base_clock_mhz) * options->base_clock_mhz;
    *ret_model = model;
    return 0;
}

struct cb_smartwatts *cb_smartwatts_free(struct cb_smartwatts *model)
{
    if (model) {
        for (size_t k = 0; k <= CB_SMARTWATTS_LAYERS; k++) {
            free(model->layers[k].x.values);
            free(model->layers[k].y.values);
            free(model->layers[k].errors.values);
        }
        free(model->scratch);
        free(model);
    }
    return NULL;
}

void cb_smartwatts_observe(struct cb_smartwatts *model, cb_smartwatts_observer *observer,
                           void *data)
{
    model->observer = observer;
    model->observer_data = data;
}

double cb_smartwatts_frequency(const struct cb_smartwatts *model, double aperf, double mperf)
{
    return trunc(model->options.base_freq_mhz * aperf / mperf);
}

double cb_smartwatts_layer_mhz(const struct cb_smartwatts *model)
{
    return (double)model->last * model->options.base_clock_mhz;
}

uint64_t cb_smartwatts_layer_id(const struct cb_smartwatts *model)
{
    return model->used_id;
}

/* --- the elastic net --- */

struct net {
    size_t n, k;
    const double *x; /* column-major */
    const double *y;
    double *residual;
    double norm[CB_SMARTWATTS_EVENTS];
    double l1, l2;
    double *w;
};

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void add(double *a, double factor, const double *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] += factor * b[i];
}

/* One pass over the columns. Returns the largest change and the largest weight. */
static void sweep(const struct net *net, double *ret_change, double *ret_most)
{
    *ret_change = *ret_most = 0;
    for (size_t j = 0; j < net->k; j++) {
        const double *column = net->x + j * net->n;
        double before = net->w[j], t;

        if (net->norm[j] == 0)
            continue;
        if (before != 0)
            add(net->residual, before, column, net->n);
        t = dot(column, net->residual, net->n);
        net->w[j] = t < 0 ? 0 : fmax(t - net->l1, 0) / (net->norm[j] + net->l2);
        if (net->w[j] != 0)
            add(net->residual, -net->w[j], column, net->n);
        *ret_change = fmax(*ret_change, fabs(net->w[j] - before));
        *ret_most = fmax(*ret_most, fabs(net->w[j]));
    }
}

static double duality_gap(const struct net *net)
{
    double rr = dot(net->residual, net->residual, net->n);
    double ww = dot(net->w, net->w, net->k);
    double dual = -INFINITY, sum = 0, c = 1, gap;

    for (size_t j = 0; j < net->k; j++) {
        double g = dot(net->x + j * net->n, net->residual, net->n) - net->l2 * net->w[j];

        dual = fmax(dual, g);
        sum += fabs(net->w[j]);
    }
    if (dual > net->l1) {
        c = net->l1 / dual;
        gap = 0.5 * (rr + rr * c * c);
    } else {
        gap = rr;
    }
    return gap + net->l1 * sum - c * dot(net->residual, net->y, net->n) +
           0.5 * net->l2 * (1 + c * c) * ww;
}

static void descend(const struct net *net, struct cb_smartwatts_fit *fit)
{
    double tolerance = TOLERANCE * dot(net->y, net->y, net->n);

    for (int i = 0; i < MAX_ITERATIONS; i++) {
        double change, most;

        fit->iterations = i + 1;
        sweep(net, &change, &most);
        if (most == 0 || change / most < TOLERANCE || i == MAX_ITERATIONS - 1) {
            fit->gap = duality_gap(net);
            if (fit->gap < tolerance)
                return;
        }
    }
}

static int reserve(struct cb_smartwatts *model, size_t size, struct cb_err *err)
{
    if (size > model->scratch_size) {
        double *scratch = calloc(size, sizeof(double));

        if (!scratch)
            return cb_err_set(err, ENOMEM, "out of memory for a fit");
        free(model->scratch);
        model->scratch = scratch;
        model->scratch_size = size;
    }
    return 0;
}

static double mean_of(const double *values, size_t n, size_t stride)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += values[i * stride];
    return sum / (double)n;
}

static int fit_layer(struct cb_smartwatts *model, const struct layer *layer, bool intercept,
                     struct cb_smartwatts_fit *fit, struct cb_err *err)
{
    size_t n = layer->y.n, k = layer->x.width;
    double mean_x[CB_SMARTWATTS_EVENTS] = {0}, mean_y = 0;
    int r = reserve(model, n * (k + 2), err);

    if (r < 0)
        return r;
    double *x = model->scratch, *y = x + n * k;
    struct net net = {.n = n, .k = k, .x = x, .y = y, .residual = y + n, .w = fit->coef};

    *fit = (struct cb_smartwatts_fit){0};
    if (intercept)
        mean_y = mean_of(layer->y.values, n, 1);
    for (size_t i = 0; i < n; i++)
        y[i] = net.residual[i] = layer->y.values[i] - mean_y;
    for (size_t j = 0; j < k; j++) {
        if (intercept)
            mean_x[j] = mean_of(layer->x.values + j, n, k);
        for (size_t i = 0; i < n; i++)
            x[j * n + i] = layer->x.values[i * k + j] - mean_x[j];
        net.norm[j] = dot(x + j * n, x + j * n, n);
    }
    net.l1 = ALPHA * L1_RATIO * (double)n;
    net.l2 = ALPHA * (1 - L1_RATIO) * (double)n;
    descend(&net, fit);
    if (intercept)
        fit->intercept = mean_y - dot(mean_x, fit->coef, k);
    return 0;
}

/* Fit when there are enough samples; keep the result when its intercept is possible. */
static int learn(struct cb_smartwatts *model, struct layer *layer, struct cb_err *err)
{
    bool full = layer->y.n == model->options.window;
    struct cb_smartwatts_fit fit;
    bool accepted;
    int r;

    if (layer->y.n < model->options.min_samples)
        return 0;
    r = fit_layer(model, layer, full, &fit, err);
    if (r < 0)
        return r;
    accepted = fit.intercept >= 0 && fit.intercept < model->options.tdp_w;
    if (accepted) {
        layer->fit = fit;
        layer->learnt = true;
        layer->id++;
    }
    if (model->observer)
        model->observer(model->observer_data, cb_smartwatts_layer_mhz(model), layer->x.values,
                        layer->y.values, layer->y.n, &fit, accepted);
    return 0;
}

/* --- a tick --- */

static int remember(const struct cb_smartwatts *model, struct layer *layer, double power_w,
                    const double *counts, size_t n_events, struct cb_err *err)
{
    int r = window_push(&layer->x, model->options.window, n_events, counts, err);

    return r < 0 ? r : window_push(&layer->y, model->options.window, 1, &power_w, err);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int error_of(struct cb_smartwatts *model, const struct window *errors, double *ret_error,
                    struct cb_err *err)
{
    size_t n = errors->n;
    int r;

    if (model->options.error_mean) {
        *ret_error = mean_of(errors->values, n, 1);
        return 0;
    }
    r = reserve(model, n, err);
    if (r < 0)
        return r;
    memcpy(model->scratch, errors->values, n * sizeof(double));
    qsort(model->scratch, n, sizeof(double), compare);
    *ret_error =
        n % 2 ? model->scratch[n / 2] : (model->scratch[n / 2 - 1] + model->scratch[n / 2]) / 2;
    return 0;
}

/* The sample and its error are remembered; too large an error fits anew and starts the error window
 * again, whether or not the fit is kept. */
static int follow(struct cb_smartwatts *model, struct layer *layer, double power_w,
                  const double *counts, size_t n_events, struct cb_err *err)
{
    double off = fabs(power_w - model->global_w), error = 0;
    int r = remember(model, layer, power_w, counts, n_events, err);

    if (r == 0)
        r = window_push(&layer->errors, model->options.error_window, 1, &off, err);
    if (r == 0)
        r = error_of(model, &layer->errors, &error, err);
    if (r == 0 && error > model->options.threshold_w) {
        r = learn(model, layer, err);
        layer->errors.n = 0;
    }
    return r;
}

/* The largest multiple of the base clock that is not above @frequency_mhz; 0: there is none, or it
 * is no number. */
static size_t layer_of(const struct cb_smartwatts *model, double frequency_mhz)
{
    double k = floor(frequency_mhz / model->options.base_clock_mhz);

    if (!isfinite(k) || k < 1)
        return 0;
    return k > CB_SMARTWATTS_LAYERS ? CB_SMARTWATTS_LAYERS : (size_t)k;
}

static bool all_finite(const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            return false;
    }
    return true;
}

int cb_smartwatts_tick(struct cb_smartwatts *model, double frequency_mhz, double power_w,
                       const double *counts, size_t n_events, enum cb_smartwatts_step *ret_step,
                       double *ret_global_w, struct cb_err *err)
{
    struct layer *layer;
    int r;

    *ret_step = CB_SMARTWATTS_STOPPED;
    model->last = layer_of(model, frequency_mhz);
    layer = &model->layers[model->last];
    model->stopped |= model->last == 0 || n_events == 0 || n_events > CB_SMARTWATTS_EVENTS ||
                      (layer->x.values && layer->x.width != n_events) || !isfinite(power_w) ||
                      !all_finite(counts, n_events);
    if (model->stopped)
        return 0;
    model->n_events = n_events;
    if (!layer->learnt) {
        *ret_step = CB_SMARTWATTS_LEARNING;
        r = remember(model, layer, power_w, counts, n_events, err);
        return r < 0 ? r : learn(model, layer, err);
    }
    model->used = layer->fit;
    model->used_id = layer->id;
    model->global_w = dot(model->used.coef, counts, n_events) + model->used.intercept;
    if (!isfinite(model->global_w)) {
        model->stopped = true;
        return 0;
    }
    *ret_global_w = model->global_w;
    *ret_step = CB_SMARTWATTS_PREDICTED;
    return follow(model, layer, power_w, counts, n_events, err);
}

bool cb_smartwatts_target(const struct cb_smartwatts *model, const double *counts, size_t n_events,
                          double *ret_w, double *ret_ratio)
{
    double all_w = model->global_w - model->used.intercept;
    double raw_w, own_w;

    if (n_events != model->n_events)
        return false;
    raw_w = dot(model->used.coef, counts, n_events) + model->used.intercept;
    own_w = raw_w - model->used.intercept;
    *ret_w = *ret_ratio = 0;
    if (all_w > 0 && own_w > 0) {
        *ret_ratio = own_w / all_w;
        *ret_w = own_w + *ret_ratio * model->used.intercept;
    }
    return isfinite(*ret_w) && isfinite(*ret_ratio);
}
