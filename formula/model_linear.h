/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_linear.h - the small dense kernels of the models: a Cholesky factor and non-negative least
 * squares on normal equations. At most some 36 columns, no allocation; the same input gives the
 * same bits. tests/unit/test_model_linear.c compares them with LAPACK.
 */
#ifndef CB_FORMULA_MODEL_LINEAR_H
#define CB_FORMULA_MODEL_LINEAR_H

#include <stddef.h>

#define CB_LINEAR_COLS 48 /* most columns of cb_nnls() */

/* Lower Cholesky factor of the symmetric @a (n x n, only its lower half is read), in place; a pivot
 * that is not positive makes its row and column 0. */
void cb_cholesky(double *a, size_t n);

/* x = L^-1 b and x = L^-T b; a row that cb_cholesky() made 0 gives 0. @x may be @b. */
void cb_forward(const double *l, size_t n, const double *b, double *x);
void cb_backward(const double *l, size_t n, const double *b, double *x);

double cb_dot(const double *a, const double *b, size_t n);

/*
 * Minimise w' A w / 2 - b' w over w >= 0. @a is symmetric, row-major with @stride, @w where to
 * start: feasible (>= 0), in the end the solution.
 *
 * cb_nnls()         exact, by active sets (Lawson and Hanson) from those that are above 0 in @w.
 * cb_nnls_descend() at most @sweeps of cyclic coordinate descent, fewer when no weight moves by
 *                   more than @settled of itself.
 */
void cb_nnls(const double *a, size_t stride, const double *b, size_t n, double *w);
void cb_nnls_descend(const double *a, size_t stride, const double *b, size_t n, int sweeps,
                     double settled, double *w);

#endif
