/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_tcp.c - see powerapi_tcp.h. */
#include "formula/powerapi_tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "formula/powerapi_lines.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/parse.h"

#define BACKLOG 128
#define EVENTS 64
#define GIVE_MS 100 /* how often the joined ticks are looked at */
#define LOG_EVERY_NS (30 * CB_NS_PER_S)
#define MAX_BUFFERED (256u << 20)
#define READS_AT_ONCE 16 /* of one connection, then the others have their turn */

struct connection {
    struct connection *next, **at; /* of the list of all */
    int fd;
    char peer[INET6_ADDRSTRLEN + 8];
    struct cb_powerapi_lines lines;
};

struct cb_powerapi_tcp {
    struct cb_powerapi *powerapi;
    char address[INET6_ADDRSTRLEN + 16];
    bool loopback, started;
    int listen_fd, stop_fd, epoll_fd;
    pthread_t thread;
    size_t n, buffered;
    struct connection *connections;
    struct cb_log_limit limit_log, ingest_log;
};

/* --- listening --- */

/* "9080", "127.0.0.1:9080", "[::1]:9080", "*:9080". */
static int split_address(const char *address, char *host, size_t size, const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    const char *from = address;
    uint64_t port;
    size_t n;

    (void)snprintf(host, size, "127.0.0.1");
    *ret_port = colon ? colon + 1 : address;
    /* getaddrinfo() would take 99999 for 34463 */
    if (cb_parse_u64(*ret_port, &port) < 0 || port > UINT16_MAX)
        return -EINVAL;
    if (!colon)
        return 0;
    n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        from++;
        n -= 2;
    }
    if (n == 0 || n >= size)
        return -EINVAL;
    memcpy(host, from, n);
    host[n] = '\0';
    return 0;
}

static void put_address(const struct sockaddr_storage *address, bool with_port, char *text,
                        size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    bool is_v4 = address->ss_family == AF_INET;

    (void)inet_ntop(address->ss_family,
                    is_v4 ? (const void *)&v4->sin_addr : (const void *)&v6->sin6_addr, host,
                    sizeof(host));
    if (with_port)
        (void)snprintf(text, size, is_v4 ? "%s:%u" : "[%s]:%u", host,
                       ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
    else
        (void)snprintf(text, size, "%s", host);
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static int bind_to(struct cb_powerapi_tcp *tcp, const struct addrinfo *info, const char *address,
                   struct cb_err *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof(bound);
    int one = 1;

    tcp->listen_fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (tcp->listen_fd < 0)
        return cb_err_set(err, errno, "--powerapi-socket: %s", strerror(errno));
    (void)setsockopt(tcp->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(tcp->listen_fd, info->ai_addr, info->ai_addrlen) < 0 ||
        listen(tcp->listen_fd, BACKLOG) < 0)
        return cb_err_set(err, errno, "--powerapi-socket %.60s: %s", address, strerror(errno));
    (void)getsockname(tcp->listen_fd, (struct sockaddr *)&bound, &size);
    put_address(&bound, true, tcp->address, sizeof(tcp->address));
    tcp->loopback = is_loopback(&bound);
    return 0;
}

static int open_listener(struct cb_powerapi_tcp *tcp, const char *address, struct cb_err *err)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *info = NULL;
    const char *port;
    char host[256];
    int r;

    if (split_address(address, host, sizeof(host), &port) < 0)
        return cb_err_set(err, EINVAL, "--powerapi-socket: '%.60s' is not [ADDR:]PORT", address);
    r = getaddrinfo(strcmp(host, "*") != 0 ? host : NULL, port, &hints, &info);
    if (r != 0)
        return cb_err_set(err, EINVAL, "--powerapi-socket: '%.60s': %s", address, gai_strerror(r));
    r = bind_to(tcp, info, address, err);
    freeaddrinfo(info);
    return r;
}

static int watch(const struct cb_powerapi_tcp *tcp, int fd, void *context)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = context}};

    return epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int cb_powerapi_tcp_listen(const char *address, struct cb_powerapi *powerapi,
                           struct cb_powerapi_tcp **ret_tcp, struct cb_err *err)
{
    struct cb_powerapi_tcp *tcp = calloc(1, sizeof(*tcp));
    int r;

    if (!tcp)
        return cb_err_set(err, ENOMEM, "out of memory");
    tcp->powerapi = powerapi;
    tcp->listen_fd = -1;
    tcp->stop_fd = eventfd(0, EFD_CLOEXEC);
    tcp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r = open_listener(tcp, address, err);
    if (r == 0 &&
        (tcp->stop_fd < 0 || tcp->epoll_fd < 0 || watch(tcp, tcp->listen_fd, &tcp->listen_fd) < 0 ||
         watch(tcp, tcp->stop_fd, &tcp->stop_fd) < 0))
        r = cb_err_set(err, errno, "--powerapi-socket: %s", strerror(errno));
    if (r < 0) {
        tcp = cb_powerapi_tcp_stop(tcp);
        return r;
    }
    *ret_tcp = tcp;
    return 0;
}

const char *cb_powerapi_tcp_address(const struct cb_powerapi_tcp *tcp)
{
    return tcp->address;
}

bool cb_powerapi_tcp_is_loopback(const struct cb_powerapi_tcp *tcp)
{
    return tcp->loopback;
}

/* --- connections --- */

static void close_connection(struct cb_powerapi_tcp *tcp, struct connection *connection)
{
    if (connection->lines.depth > 0)
        cb_powerapi_bad(tcp->powerapi, CB_POWERAPI_TCP, 1, connection->peer,
                        "the connection ended within a report");
    *connection->at = connection->next;
    if (connection->next)
        connection->next->at = connection->at;
    tcp->n--;
    tcp->buffered -= connection->lines.room;
    cb_powerapi_lines_clear(&connection->lines);
    (void)close(connection->fd);
    free(connection);
}

/* A machine that is switched off says no goodbye. */
static void watch_for_death(int fd)
{
    const int one = 1, idle_s = 60, interval_s = 20, count = 3;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void accept_one(struct cb_powerapi_tcp *tcp)
{
    struct sockaddr_storage peer = {0};
    socklen_t size = sizeof(peer);
    cb_auto_close int fd =
        accept4(tcp->listen_fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection *connection;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            (void)poll(NULL, 0, GIVE_MS); /* it stays in the queue: no busy loop */
        return;
    }
    connection = tcp->n < CB_POWERAPI_CONNECTIONS ? calloc(1, sizeof(*connection)) : NULL;
    if (!connection || watch(tcp, fd, connection) < 0) {
        free(connection);
        cb_log_limited(&tcp->limit_log, LOG_EVERY_NS, CB_LOG_WARN,
                       "PowerAPI socket: a connection is refused, there are %zu", tcp->n);
        return;
    }
    watch_for_death(fd);
    put_address(&peer, false, connection->peer, sizeof(connection->peer));
    connection->fd = cb_take_fd(fd);
    connection->next = tcp->connections;
    connection->at = &tcp->connections;
    if (connection->next)
        connection->next->at = &connection->next;
    tcp->connections = connection;
    tcp->n++;
}

/* --- reports --- */

/* False: nothing more can be put in, the server stops. */
static bool take(struct cb_powerapi_tcp *tcp, const struct connection *connection, const char *text,
                 size_t size)
{
    struct cb_hwpc_report *report = NULL;
    struct cb_err err = {0};
    size_t used;
    int r = cb_hwpc_parse(text, size, &report, &used, &err);

    if (r == -EBADMSG) {
        cb_powerapi_bad(tcp->powerapi, CB_POWERAPI_TCP, 1, connection->peer, err.text);
        return true;
    }
    if (r == 0)
        r = cb_powerapi_add(tcp->powerapi, CB_POWERAPI_TCP, report, cb_clock_boot_ns(),
                            cb_clock_wall_ns(), &err);
    if (r < 0)
        cb_log_limited(&tcp->ingest_log, LOG_EVERY_NS, CB_LOG_ERR, "PowerAPI socket: %s", err.text);
    return r != -ECANCELED;
}

static bool take_documents(struct cb_powerapi_tcp *tcp, struct connection *connection)
{
    uint64_t bad = connection->lines.bad;
    const char *text;
    size_t size;
    bool more = true;

    while (more && cb_powerapi_lines_next(&connection->lines, &text, &size))
        more = take(tcp, connection, text, size);
    if (connection->lines.bad > bad)
        cb_powerapi_bad(tcp->powerapi, CB_POWERAPI_TCP, connection->lines.bad - bad,
                        connection->peer, "a line is no JSON document");
    return more;
}

static int make_room(struct cb_powerapi_tcp *tcp, struct connection *connection, char **ret_at,
                     size_t *ret_room)
{
    size_t before = connection->lines.room;
    int r = cb_powerapi_lines_room(&connection->lines, ret_at, ret_room);

    tcp->buffered += connection->lines.room - before;
    return r == 0 && tcp->buffered > MAX_BUFFERED ? -ENOMEM : r;
}

/* False: the server stops. */
static bool read_connection(struct cb_powerapi_tcp *tcp, struct connection *connection)
{
    bool more = true;

    for (int i = 0; i < READS_AT_ONCE && more; i++) {
        size_t room;
        char *at;
        ssize_t n;
        int r = make_room(tcp, connection, &at, &room);

        if (r < 0) {
            cb_powerapi_bad(tcp->powerapi, CB_POWERAPI_TCP, 1, connection->peer,
                            r == -EMSGSIZE ? "a document is too long, its connection is closed"
                                           : "out of memory, a connection is closed");
            connection->lines.depth = 0;
            close_connection(tcp, connection);
            return true;
        }
        n = recv(connection->fd, at, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (n <= 0) {
            close_connection(tcp, connection);
            return true;
        }
        cb_powerapi_lines_added(&connection->lines, (size_t)n);
        more = take_documents(tcp, connection);
    }
    return more;
}

/* --- the thread --- */

static void give(struct cb_powerapi_tcp *tcp)
{
    struct cb_err err = {0};

    if (cb_powerapi_give(tcp->powerapi, CB_POWERAPI_TCP, cb_clock_boot_ns(), &err) < 0)
        cb_log_limited(&tcp->ingest_log, LOG_EVERY_NS, CB_LOG_ERR, "PowerAPI socket: %s", err.text);
}

/* False: stop. */
static bool serve_events(struct cb_powerapi_tcp *tcp, const struct epoll_event *events, int n)
{
    bool more = true;

    for (int i = 0; i < n && more; i++) {
        if (events[i].data.ptr == &tcp->stop_fd)
            more = false;
        else if (events[i].data.ptr == &tcp->listen_fd)
            accept_one(tcp);
        else
            more = read_connection(tcp, events[i].data.ptr);
    }
    return more;
}

static void *run(void *context)
{
    struct cb_powerapi_tcp *tcp = context;
    struct epoll_event events[EVENTS];
    struct cb_err err = {0};
    uint64_t given_ns = 0;
    int n = 0;

    while (serve_events(tcp, events, n)) {
        uint64_t now_ns = cb_clock_boot_ns();

        if (now_ns - given_ns >= GIVE_MS * UINT64_C(1000000)) {
            give(tcp);
            given_ns = now_ns;
        }
        n = epoll_wait(tcp->epoll_fd, events, EVENTS, GIVE_MS);
    }
    for (struct connection *c = tcp->connections, *next; c; c = next) {
        next = c->next;
        (void)read_connection(tcp, c);
    }
    if (cb_powerapi_flush(tcp->powerapi, CB_POWERAPI_TCP, &err) < 0)
        cb_log_err("PowerAPI socket: %s", err.text);
    return NULL;
}

int cb_powerapi_tcp_start(struct cb_powerapi_tcp *tcp, struct cb_err *err)
{
    int r = pthread_create(&tcp->thread, NULL, run, tcp);

    if (r != 0)
        return cb_err_set(err, r, "cannot start a thread: %s", strerror(r));
    tcp->started = true;
    return 0;
}

struct cb_powerapi_tcp *cb_powerapi_tcp_stop(struct cb_powerapi_tcp *tcp)
{
    if (!tcp)
        return NULL;
    if (tcp->started) {
        (void)eventfd_write(tcp->stop_fd, 1);
        (void)pthread_join(tcp->thread, NULL);
    }
    while (tcp->connections)
        close_connection(tcp, tcp->connections);
    cb_close_at(&tcp->listen_fd);
    cb_close_at(&tcp->epoll_fd);
    cb_close_at(&tcp->stop_fd);
    free(tcp);
    return NULL;
}
