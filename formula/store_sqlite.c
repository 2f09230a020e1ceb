/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite.c - the connection, the schema and its versions, statements. See store.h. */
#include "formula/store_sqlite.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_gate.h"
#include "lib/clock.h"
#include "lib/err.h"

#define APPLICATION_ID 0x43425754 /* "CBWT" */
#define BUSY_MS 5000
/* So many pages in the write-ahead log are copied to the database, by whom others do not wait for;
 * by the others only when there is nobody else. */
#define WAL_PAGES 1000
#define WAL_PAGES_FIRST 4000

static int errno_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_CANTOPEN:
        return ENOENT;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EBADMSG;
    case SQLITE_CONSTRAINT:
        return EEXIST;
    case SQLITE_NOMEM:
        return ENOMEM;
    default:
        return EIO;
    }
}

int cb_sql_error(const struct cb_store *store, const char *what, struct cb_err *err)
{
    int code = sqlite3_extended_errcode(store->db);

    return cb_err_set(err, errno_of(code), "store: cannot %s: %s", what, sqlite3_errmsg(store->db));
}

/* ---- taking turns ---- */

static int enter(struct cb_store *store, struct cb_err *err)
{
    int r = 0;

    if (store->gate && !store->inside)
        r = cb_gate_pass(store->gate, store->first, BUSY_MS * (CB_NS_PER_S / 1000), err);
    store->inside = store->gate && r == 0;
    return r;
}

static void leave(struct cb_store *store)
{
    if (store->inside)
        cb_gate_leave(store->gate);
    store->inside = false;
}

static int note_wal_pages(void *context, sqlite3 *db, const char *name, int pages)
{
    struct cb_store *store = context;

    (void)db;
    (void)name;
    store->wal_pages = pages;
    return SQLITE_OK;
}

/* Instead of SQLite's own way, which copies before the commit returns, on whatever thread. */
static void settle_wal(struct cb_store *store)
{
    if (store->wal_pages >= (store->first ? WAL_PAGES_FIRST : WAL_PAGES))
        (void)sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    store->wal_pages = 0;
}

/* ---- statements ---- */

static int prepare(struct cb_store *store, const char *what, const char *sql,
                   sqlite3_stmt **ret_stmt, struct cb_err *err)
{
    for (size_t i = 0; i < store->n_statements; i++)
        if (store->statements[i].sql == sql) {
            *ret_stmt = store->statements[i].stmt;
            return 0;
        }
    if (store->n_statements == MAX_STATEMENTS)
        return cb_err_set(err, EIO, "store: more than %d statements", MAX_STATEMENTS);
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL) !=
        SQLITE_OK)
        return cb_sql_error(store, what, err);
    store->statements[store->n_statements].sql = sql;
    store->statements[store->n_statements++].stmt = *ret_stmt;
    return 0;
}

static int bind_all(sqlite3_stmt *stmt, const char *format, va_list ap)
{
    int r = SQLITE_OK;

    for (int i = 1; *format && r == SQLITE_OK; format++, i++) {
        const void *bytes;
        const char *text;

        switch (*format) {
        case 'i':
            r = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
            break;
        case 'u':
            r = sqlite3_bind_int64(stmt, i, (int64_t)va_arg(ap, uint64_t));
            break;
        case 'd':
            r = sqlite3_bind_double(stmt, i, va_arg(ap, double));
            break;
        case 't':
            text = va_arg(ap, const char *);
            r = text ? sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC)
                     : sqlite3_bind_null(stmt, i);
            break;
        default:
            bytes = va_arg(ap, const void *);
            r = sqlite3_bind_blob64(stmt, i, bytes, va_arg(ap, size_t), SQLITE_STATIC);
            break;
        }
    }
    return r;
}

int cb_sql_next(struct cb_store *store, const char *what, struct cb_err *err, sqlite3_stmt *stmt)
{
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return cb_sql_error(store, what, err);
    }
}

static int first(struct cb_store *store, const char *what, struct cb_err *err,
                 sqlite3_stmt **ret_stmt, const char *sql, const char *format, va_list ap)
{
    int r = prepare(store, what, sql, ret_stmt, err);

    if (r < 0)
        return r;
    if (bind_all(*ret_stmt, format, ap) != SQLITE_OK)
        return cb_sql_error(store, what, err);
    return cb_sql_next(store, what, err, *ret_stmt);
}

int cb_sql_first(struct cb_store *store, const char *what, struct cb_err *err,
                 sqlite3_stmt **ret_stmt, const char *sql, const char *format, ...)
{
    va_list ap;
    int r;

    va_start(ap, format);
    r = first(store, what, err, ret_stmt, sql, format, ap);
    va_end(ap);
    return r;
}

int cb_sql_run(struct cb_store *store, const char *what, struct cb_err *err, const char *sql,
               const char *format, ...)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    bool alone = sqlite3_get_autocommit(store->db) && !store->inside;
    va_list ap;
    int r = alone ? enter(store, err) : 0;

    if (r < 0)
        return r;
    va_start(ap, format);
    r = first(store, what, err, &stmt, sql, format, ap);
    va_end(ap);
    while (r > 0)
        r = cb_sql_next(store, what, err, stmt);
    if (r == 0)
        r = sqlite3_changes(store->db);
    if (alone) {
        leave(store);
        settle_wal(store);
    }
    return r;
}

void cb_sql_text(sqlite3_stmt *stmt, int column, char *ret_text, size_t size)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    (void)snprintf(ret_text, size, "%s", text ? (const char *)text : "");
}

/* ---- transactions ---- */

int cb_store_begin(struct cb_store *store, struct cb_err *err)
{
    int r = enter(store, err);

    if (r < 0)
        return r;
    r = cb_sql_run(store, "begin a transaction", err, "BEGIN IMMEDIATE", "");
    if (r < 0)
        leave(store);
    return r < 0 ? r : 0;
}

int cb_store_commit(struct cb_store *store, struct cb_err *err)
{
    int r = cb_sql_run(store, "commit", err, "COMMIT", "");

    if (r < 0)
        return r;
    leave(store);
    settle_wal(store);
    return 0;
}

void cb_store_rollback(struct cb_store *store)
{
    /* Some failures (disk full) have rolled back already. */
    if (!sqlite3_get_autocommit(store->db))
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    leave(store);
}

int cb_sql_begin_mine(struct cb_store *store, bool *ret_mine, struct cb_err *err)
{
    *ret_mine = sqlite3_get_autocommit(store->db) != 0;
    return *ret_mine ? cb_store_begin(store, err) : 0;
}

int cb_sql_end_mine(struct cb_store *store, bool mine, int r, struct cb_err *err)
{
    int committed = 0;

    if (mine && r >= 0)
        committed = cb_store_commit(store, err);
    if (mine && (r < 0 || committed < 0))
        cb_store_rollback(store);
    return committed < 0 ? committed : r;
}

/* ---- opening ---- */

static int run_text(struct cb_store *store, const char *what, const char *sql, struct cb_err *err)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return cb_sql_error(store, what, err);
    return 0;
}

static int pragma(struct cb_store *store, const char *sql, int *ret_value, struct cb_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_step(stmt);
    if (r == SQLITE_ROW)
        *ret_value = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return r == SQLITE_ROW ? 0 : cb_sql_error(store, "read the schema version", err);
}

static int check_version(struct cb_store *store, int *ret_version, struct cb_err *err)
{
    int application = 0;
    int r = pragma(store, "PRAGMA application_id", &application, err);

    if (r == 0)
        r = pragma(store, "PRAGMA user_version", ret_version, err);
    if (r < 0)
        return r;
    if (application != APPLICATION_ID && (application != 0 || *ret_version != 0))
        return cb_err_set(err, EBADMSG, "store: this is the database of another program");
    if (*ret_version > CB_SQL_SCHEMA_VERSION)
        return cb_err_set(err, EPROTONOSUPPORT,
                          "store: schema version %d was written by a newer cbformula, this one "
                          "knows %d: update it, or use another --state-dir",
                          *ret_version, CB_SQL_SCHEMA_VERSION);
    return 0;
}

static int migrate_one(struct cb_store *store, int version, struct cb_err *err)
{
    char sql[96];
    int r = run_text(store, "migrate the schema", cb_sql_migrations[version], err);

    (void)snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d",
                   APPLICATION_ID, version + 1);
    return r < 0 ? r : run_text(store, "set the schema version", sql, err);
}

/* Another process may have migrated since the version was first looked at. */
static int migrate(struct cb_store *store, struct cb_err *err)
{
    int version = 0;
    bool mine = false;
    int r = run_text(store, "turn on write-ahead logging",
                     "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL", err);

    if (r == 0)
        r = cb_sql_begin_mine(store, &mine, err);
    if (r < 0)
        return r;
    r = check_version(store, &version, err);
    for (; r == 0 && version < CB_SQL_SCHEMA_VERSION; version++)
        r = migrate_one(store, version, err);
    return cb_sql_end_mine(store, mine, r, err);
}

static int open_connection(struct cb_store *store, const char *path, enum cb_store_mode mode,
                           struct cb_err *err)
{
    int flags = mode == CB_STORE_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int version = 0;
    int r;

    if (mode == CB_STORE_OWNER)
        flags |= SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return cb_sql_error(store, "open it", err);
    (void)sqlite3_extended_result_codes(store->db, 1);
    (void)sqlite3_busy_timeout(store->db, BUSY_MS);
    (void)sqlite3_wal_hook(store->db, note_wal_pages, store);
    store->first = mode == CB_STORE_OWNER;
    r = check_version(store, &version, err);
    if (r == 0 && mode != CB_STORE_READ)
        r = cb_gate_open(path, &store->gate, err);
    if (r == 0)
        r = run_text(store, "set it up",
                     "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
                     "PRAGMA journal_size_limit = 67108864",
                     err);
    if (r == 0 && version != CB_SQL_SCHEMA_VERSION && mode == CB_STORE_OWNER)
        return migrate(store, err);
    if (r == 0 && version != CB_SQL_SCHEMA_VERSION)
        r = cb_err_set(err, EPROTONOSUPPORT,
                       "store: schema version %d is older than this program's %d: start "
                       "'cbformula serve' once, it migrates it",
                       version, CB_SQL_SCHEMA_VERSION);
    return r;
}

int cb_store_open(const char *path, enum cb_store_mode mode, struct cb_store **ret_store,
                  struct cb_err *err)
{
    struct cb_store *store = calloc(1, sizeof(*store));
    int r;

    if (!store)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = open_connection(store, path, mode, err);
    if (r < 0) {
        (void)cb_store_close(store);
        return cb_err_prefix(err, r, "'%s'", path);
    }
    *ret_store = store;
    return 0;
}

struct cb_store *cb_store_close(struct cb_store *store)
{
    if (!store)
        return NULL;
    cb_store_rollback(store);
    for (size_t i = 0; i < store->n_statements; i++)
        (void)sqlite3_finalize(store->statements[i].stmt);
    (void)sqlite3_close(store->db);
    (void)cb_gate_close(store->gate);
    free(store);
    return NULL;
}

void cb_store_limit_pages(struct cb_store *store, unsigned pages)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %u", pages ? pages : 4294967294u);
    (void)sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}
