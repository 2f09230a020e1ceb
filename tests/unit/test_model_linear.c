/* SPDX-License-Identifier: Apache-2.0 */
/* test_model_linear.c - the models' kernels against LAPACK, on random and on bad matrices. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <lapacke.h>

#include "formula/model_linear.h"

#define MOST 24
#define ROWS 80

static uint64_t random_state;

static double uniform(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* A least-squares problem in rows, and its normal equations. */
struct problem {
    size_t rows, n;
    double x[ROWS * MOST], y[ROWS];
    double a[MOST * MOST], b[MOST];
};

static void make_normal(struct problem *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->b[i] = 0;
        for (size_t t = 0; t < p->rows; t++)
            p->b[i] += p->x[t * p->n + i] * p->y[t];
        for (size_t j = 0; j < p->n; j++) {
            p->a[i * p->n + j] = 0;
            for (size_t t = 0; t < p->rows; t++)
                p->a[i * p->n + j] += p->x[t * p->n + i] * p->x[t * p->n + j];
        }
    }
}

/* Counter rates have all sizes, and go along with each other. @alike: 0 independent .. 1 the same.
 */
static void draw(struct problem *p, size_t n, double alike, double least_weight)
{
    double size[MOST], weight[MOST];

    p->n = n;
    p->rows = n + 1 + (size_t)(uniform() * (double)(ROWS - n - 1));
    for (size_t i = 0; i < n; i++) {
        size[i] = pow(10, 10 * uniform() - 5);
        weight[i] = (least_weight + uniform()) / size[i];
    }
    for (size_t t = 0; t < p->rows; t++) {
        double common = 0.1 + uniform();

        p->y[t] = 0.01 * (uniform() - 0.5);
        for (size_t i = 0; i < n; i++) {
            p->x[t * n + i] = size[i] * (alike * common + (1 - alike) * uniform());
            p->y[t] += weight[i] * p->x[t * n + i];
        }
    }
    make_normal(p);
}

/* Least squares by QR on the rows themselves. */
static void lapack_least_squares(const struct problem *p, double *w)
{
    double x[ROWS * MOST], y[ROWS];

    memcpy(x, p->x, sizeof(x));
    memcpy(y, p->y, sizeof(y));
    assert_int_equal(LAPACKE_dgels(LAPACK_ROW_MAJOR, 'N', (lapack_int)p->rows, (lapack_int)p->n, 1,
                                   x, (lapack_int)p->n, y, 1),
                     0);
    memcpy(w, y, p->n * sizeof(*w));
}

static double objective(const double *a, const double *b, size_t n, const double *w)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum -= b[i] * w[i];
        for (size_t j = 0; j < n; j++)
            sum += w[i] * a[i * n + j] * w[j] / 2;
    }
    return sum;
}

/* By what the fitted values differ, as a share of the largest: weights of collinear columns may
 * differ where what they say together does not. */
static double distance(const struct problem *p, const double *v, const double *w)
{
    double most = 0, scale = 1e-300;

    for (size_t t = 0; t < p->rows; t++) {
        most =
            fmax(most, fabs(cb_dot(p->x + t * p->n, v, p->n) - cb_dot(p->x + t * p->n, w, p->n)));
        scale = fmax(scale, fabs(p->y[t]));
    }
    return most / scale;
}

static void cholesky_solves_as_dposv_does(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 1;
    for (int round = 0; round < 2000; round++) {
        double l[MOST * MOST], a[MOST * MOST], x[MOST], y[MOST];

        draw(&p, 1 + (size_t)(uniform() * MOST), 0.5 * uniform(), 0);
        memcpy(l, p.a, sizeof(l));
        memcpy(a, p.a, sizeof(a));
        memcpy(x, p.b, sizeof(x));
        memcpy(y, p.b, sizeof(y));
        cb_cholesky(l, p.n);
        cb_forward(l, p.n, x, x);
        cb_backward(l, p.n, x, x);
        assert_int_equal(
            LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', (lapack_int)p.n, 1, a, (lapack_int)p.n, y, 1), 0);
        for (size_t i = 0; i < p.n; i++) {
            for (size_t j = 0; j <= i; j++)
                assert_true(fabs(l[i * p.n + j] - a[i * p.n + j]) <= 1e-9 * sqrt(p.a[i * p.n + i]));
        }
        assert_true(distance(&p, x, y) < 1e-9);
    }
}

static void the_quadratic_form_is_that_of_the_inverse(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 2;
    for (int round = 0; round < 500; round++) {
        double l[MOST * MOST], a[MOST * MOST], x[MOST], y[MOST];

        draw(&p, 1 + (size_t)(uniform() * MOST), 0.3, 0);
        memcpy(l, p.a, sizeof(l));
        memcpy(a, p.a, sizeof(a));
        memcpy(y, p.b, sizeof(y));
        cb_cholesky(l, p.n);
        cb_forward(l, p.n, p.b, x);
        assert_int_equal(
            LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', (lapack_int)p.n, 1, a, (lapack_int)p.n, y, 1), 0);
        double ours = cb_dot(x, x, p.n), theirs = cb_dot(p.b, y, p.n);

        assert_true(fabs(ours - theirs) <= 1e-8 * theirs);
    }
}

static void positive_weights_are_those_of_dgels(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 3;
    for (int round = 0; round < 2000; round++) {
        double ours[MOST] = {0}, theirs[MOST];
        bool positive = true;

        draw(&p, 1 + (size_t)(uniform() * 12), 0.3 * uniform(), 1);
        lapack_least_squares(&p, theirs);
        for (size_t i = 0; i < p.n; i++)
            positive &= theirs[i] > 0;
        if (!positive)
            continue;
        cb_nnls(p.a, p.n, p.b, p.n, ours);
        for (size_t i = 0; i < p.n; i++)
            assert_true(fabs(ours[i] - theirs[i]) <= 1e-6 * theirs[i]);
    }
}

/* The ridge is so many rows more for dgels: columns that are all but the same, Hilbert's too. */
static void a_ridge_on_collinear_columns_is_that_of_dgels(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 4;
    for (int round = 0; round < 1000; round++) {
        double ours[MOST] = {0}, theirs[MOST];
        bool hilbert = round % 5 == 0, positive = true;
        size_t n = 2 + (size_t)(uniform() * 9);

        draw(&p, n, 1 - pow(10, -8 * uniform()), 1);
        p.rows = p.rows < ROWS - n ? p.rows : ROWS - n;
        for (size_t t = 0; t < p.rows && hilbert; t++) {
            p.y[t] = 0;
            for (size_t i = 0; i < n; i++)
                p.y[t] += p.x[t * n + i] = 1 / (double)(t + i + 1);
        }
        make_normal(&p);
        for (size_t i = 0; i < n; i++) {
            memset(p.x + (p.rows + i) * n, 0, n * sizeof(double));
            p.x[(p.rows + i) * n + i] = sqrt(1e-5 * p.a[i * n + i]);
            p.y[p.rows + i] = 0;
        }
        p.rows += n;
        make_normal(&p);
        lapack_least_squares(&p, theirs);
        for (size_t i = 0; i < n; i++)
            positive &= theirs[i] > 0;
        cb_nnls(p.a, n, p.b, n, ours);
        if (positive)
            assert_true(distance(&p, ours, theirs) < 1e-7);
        else
            assert_true(objective(p.a, p.b, n, ours) >=
                        objective(p.a, p.b, n, theirs) * (1 + 1e-9));
    }
}

/* The best of all subsets of columns, each solved by LAPACK. */
static double best_subset(const struct problem *p)
{
    double best = 0;

    for (unsigned mask = 1; mask < 1u << p->n; mask++) {
        double a[MOST * MOST], z[MOST], w[MOST] = {0};
        size_t set[MOST], m = 0;
        bool feasible = true;

        for (size_t i = 0; i < p->n; i++) {
            if (mask >> i & 1)
                set[m++] = i;
        }
        for (size_t i = 0; i < m; i++) {
            z[i] = p->b[set[i]];
            for (size_t j = 0; j < m; j++)
                a[i * m + j] = p->a[set[i] * p->n + set[j]];
        }
        if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', (lapack_int)m, 1, a, (lapack_int)m, z, 1) != 0)
            continue;
        for (size_t i = 0; i < m; i++) {
            feasible &= z[i] >= 0;
            w[set[i]] = z[i];
        }
        if (feasible)
            best = fmin(best, objective(p->a, p->b, p->n, w));
    }
    return best;
}

static void draw_mixed(struct problem *p, size_t n)
{
    draw(p, n, 0.9 * uniform(), 0);
    for (size_t t = 0; t < p->rows; t++) { /* some columns would like to be negative */
        for (size_t i = 0; i < n; i += 2)
            p->y[t] -= 2 * uniform() * p->x[t * n + i] / (1e-9 + p->x[i]);
        p->y[t] += 1;
    }
    make_normal(p);
}

static void nnls_finds_the_best_of_all_subsets(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 5;
    for (int round = 0; round < 1000; round++) {
        double w[MOST] = {0}, best, ours;
        size_t n = 1 + (size_t)(uniform() * 8);

        draw_mixed(&p, n);
        for (size_t i = 0; i < n; i++) /* from anywhere that is allowed */
            w[i] = uniform() < 0.5 ? 0 : uniform() / sqrt(p.a[i * n + i]);
        best = best_subset(&p);
        cb_nnls(p.a, n, p.b, n, w);
        ours = objective(p.a, p.b, n, w);
        for (size_t i = 0; i < n; i++)
            assert_true(w[i] >= 0);
        assert_true(fabs(ours - best) <= 1e-7 * fabs(best) + 1e-12);
    }
}

static void descending_long_enough_ends_where_nnls_does(void **state)
{
    static struct problem p;

    (void)state;
    random_state = 6;
    for (int round = 0; round < 300; round++) {
        double w[MOST] = {0}, v[MOST] = {0};
        size_t n = 1 + (size_t)(uniform() * 12);

        draw_mixed(&p, n);
        for (size_t i = 0; i < n; i++)
            p.a[i * n + i] *= 1.05;
        cb_nnls(p.a, n, p.b, n, w);
        cb_nnls_descend(p.a, n, p.b, n, 20000, 0, v);
        assert_true(distance(&p, v, w) < 1e-6);
        cb_nnls_descend(p.a, n, p.b, n, 6, 1e-5, w); /* and stays there */
        assert_true(distance(&p, v, w) < 1e-6);
    }
}

static void what_is_no_matrix_gives_weights_all_the_same(void **state)
{
    static const double dirt[] = {NAN, INFINITY, -INFINITY, 0, -1, 1e300, 1e-300};
    static struct problem p;

    (void)state;
    random_state = 7;
    for (int round = 0; round < 5000; round++) {
        size_t n = 1 + (size_t)(uniform() * 8), at = (size_t)(uniform() * (double)(n * n));
        double w[MOST] = {0}, v[MOST] = {0}, value = dirt[round % 7];

        draw(&p, n, round % 3 ? 0.5 : 1, 0);
        p.a[at] = p.a[at % n * n + at / n] = value;
        if (round % 2)
            p.b[at % n] = dirt[(round / 2) % 7];
        cb_nnls(p.a, n, p.b, n, w);
        cb_nnls_descend(p.a, n, p.b, n, 6, 1e-5, v);
        for (size_t i = 0; i < n; i++)
            assert_true(w[i] >= 0 && v[i] >= 0); /* a NaN is not */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cholesky_solves_as_dposv_does),
        cmocka_unit_test(the_quadratic_form_is_that_of_the_inverse),
        cmocka_unit_test(positive_weights_are_those_of_dgels),
        cmocka_unit_test(a_ridge_on_collinear_columns_is_that_of_dgels),
        cmocka_unit_test(nnls_finds_the_best_of_all_subsets),
        cmocka_unit_test(descending_long_enough_ends_where_nnls_does),
        cmocka_unit_test(what_is_no_matrix_gives_weights_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
