/* SPDX-License-Identifier: Apache-2.0 */
/* model_linear.c - see model_linear.h. */
#include "formula/model_linear.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A gradient below this share of what its terms add up to is rounding. */
#define ROUNDING 1e-12

void cb_cholesky(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double pivot = a[j * n + j];

        for (size_t k = 0; k < j; k++)
            pivot -= a[j * n + k] * a[j * n + k];
        pivot = pivot > 0 ? sqrt(pivot) : 0;
        a[j * n + j] = pivot;
        for (size_t i = j + 1; i < n; i++) {
            double sum = a[i * n + j];

            for (size_t k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = pivot > 0 ? sum / pivot : 0;
        }
    }
}

void cb_forward(const double *l, size_t n, const double *b, double *x)
{
    for (size_t i = 0; i < n; i++) {
        double sum = b[i];

        for (size_t k = 0; k < i; k++)
            sum -= l[i * n + k] * x[k];
        x[i] = l[i * n + i] > 0 ? sum / l[i * n + i] : 0;
    }
}

void cb_backward(const double *l, size_t n, const double *b, double *x)
{
    for (size_t i = n; i-- > 0;) {
        double sum = b[i];

        for (size_t k = i + 1; k < n; k++)
            sum -= l[k * n + i] * x[k];
        x[i] = l[i * n + i] > 0 ? sum / l[i * n + i] : 0;
    }
}

double cb_dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* --- by active sets --- */

/* The unconstrained solution over the columns in @set, in @z by their place in the set. */
static void solve_set(const double *a, size_t stride, const double *b, const size_t *set,
                      size_t n_set, double *z)
{
    double l[CB_LINEAR_COLS * CB_LINEAR_COLS];

    for (size_t i = 0; i < n_set; i++) {
        z[i] = b[set[i]];
        for (size_t j = 0; j <= i; j++)
            l[i * n_set + j] = a[set[i] * stride + set[j]];
    }
    cb_cholesky(l, n_set);
    cb_forward(l, n_set, z, z);
    cb_backward(l, n_set, z, z);
}

/* Go from @w towards @z as far as no weight gets below 0, and drop from @set what arrives there.
 * Returns whether @z was reached. */
static bool step(const double *z, double *w, size_t *set, size_t *n_set)
{
    double part = 1;
    size_t first = SIZE_MAX, kept = 0;

    for (size_t i = 0; i < *n_set; i++) {
        double before = w[set[i]];

        if (z[i] > 0 || !(before / (before - z[i]) < part))
            continue;
        part = before / (before - z[i]);
        first = i;
    }
    for (size_t i = 0; i < *n_set; i++) {
        double at = w[set[i]] + part * (z[i] - w[set[i]]);

        w[set[i]] = i != first && at > 0 ? at : 0; /* a NaN ends here, too */
        if (w[set[i]] > 0)
            set[kept++] = set[i];
    }
    *n_set = kept;
    return first == SIZE_MAX;
}

/* The column outside the set that gains most for its size; SIZE_MAX: none gains. */
static size_t best_gain(const double *a, size_t stride, const double *b, size_t n, const double *w)
{
    double most = 0;
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        double gradient = b[i], size = fabs(b[i]), own = a[i * stride + i];

        if (w[i] > 0 || !(own > 0))
            continue;
        for (size_t j = 0; j < n; j++) {
            gradient -= a[i * stride + j] * w[j];
            size += fabs(a[i * stride + j] * w[j]);
        }
        if (gradient > ROUNDING * size && gradient / sqrt(own) > most) {
            most = gradient / sqrt(own);
            best = i;
        }
    }
    return best;
}

void cb_nnls(const double *a, size_t stride, const double *b, size_t n, double *w)
{
    size_t set[CB_LINEAR_COLS], n_set = 0;
    double z[CB_LINEAR_COLS];

    for (size_t i = 0; i < n; i++) {
        w[i] = w[i] > 0 && a[i * stride + i] > 0 ? w[i] : 0;
        if (w[i] > 0)
            set[n_set++] = i;
    }
    for (size_t round = 0; round < 4 * n + 4; round++) {
        size_t more;

        solve_set(a, stride, b, set, n_set, z);
        if (!step(z, w, set, &n_set))
            continue;
        more = best_gain(a, stride, b, n, w);
        if (more == SIZE_MAX)
            return;
        set[n_set++] = more;
    }
}

/* --- by coordinates --- */

void cb_nnls_descend(const double *a, size_t stride, const double *b, size_t n, int sweeps,
                     double settled, double *w)
{
    for (int sweep = 0; sweep < sweeps; sweep++) {
        bool moved = false;

        for (size_t i = 0; i < n; i++) {
            const double *row = a + i * stride;
            double gradient = b[i], before = w[i];

            if (!(row[i] > 0)) {
                w[i] = 0;
                continue;
            }
            for (size_t j = 0; j < n; j++)
                gradient -= row[j] * w[j];
            w[i] = before + gradient / row[i];
            w[i] = w[i] > 0 ? w[i] : 0; /* a NaN ends here, too */
            moved |= fabs(w[i] - before) > settled * w[i];
        }
        if (!moved)
            return;
    }
}
