/* SPDX-License-Identifier: Apache-2.0 */
/* fake_server.c - see fake_server.h. */
#include "tests/support/fake_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    abort();
}

void fake_sleep_ms(unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die(path);
    return fd;
}

static int listen_loopback(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        die("loopback");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

void fake_server_listen(struct fake_server *server, const char *path)
{
    memset(server, 0, sizeof(*server));
    server->listen_fd = path ? listen_unix(path) : listen_loopback(&server->port);
    if (listen(server->listen_fd, 32) < 0 || pipe2(server->stop_fds, O_CLOEXEC) < 0)
        die("listen");
    (void)pthread_mutex_init(&server->mutex, NULL);
}

void fake_write(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;

    while (size > 0) {
        ssize_t n = send(fd, from, size, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the other side went away, as some tests want it */
        from += n;
        size -= (size_t)n;
    }
}

void fake_reply(int fd, int status, const char *headers, const char *body)
{
    char *text;
    int n = asprintf(&text, "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status,
                     headers ? headers : "", strlen(body), body);

    if (n < 0)
        die("asprintf");
    fake_write(fd, text, (size_t)n); /* in one piece: two would wait for each other's ACK */
    free(text);
}

/* One request from @fd; false at its end. */
static bool read_request(int fd, struct fake_request *request)
{
    char head[8192];
    size_t n = 0;
    size_t length = 0;
    const char *field;

    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        if (n == sizeof(head) - 1 || recv(fd, head + n, 1, 0) != 1)
            return false;
        n++;
    }
    head[n] = '\0';
    if (sscanf(head, "%15s %2047s", request->method, request->path) != 2)
        return false;
    field = strstr(head, "Content-Length: ");
    if (field)
        length = strtoul(field + 16, NULL, 10);
    if (length >= sizeof(request->body))
        return false;
    for (n = 0; n < length;) {
        ssize_t got = recv(fd, request->body + n, length - n, 0);

        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    request->body[length] = '\0';
    return true;
}

static void keep(struct fake_server *server, const struct fake_request *request)
{
    size_t left;
    int n;

    (void)pthread_mutex_lock(&server->mutex);
    left = sizeof(server->log) - server->log_size;
    n = snprintf(server->log + server->log_size, left, "%s %s %s\n", request->method, request->path,
                 request->body);
    if (n > 0 && (size_t)n < left)
        server->log_size += (size_t)n;
    (void)pthread_mutex_unlock(&server->mutex);
}

static void *serve(void *arg)
{
    struct fake_connection *connection = arg;
    struct fake_server *server = connection->server;
    struct fake_request *request = calloc(1, sizeof(*request));

    if (!request)
        die("calloc");
    while (read_request(connection->fd, request)) {
        keep(server, request);
        if (!server->handler(server->arg, request, connection->fd))
            break;
    }
    (void)shutdown(connection->fd, SHUT_RDWR);
    free(request);
    return NULL;
}

static void take(struct fake_server *server, int fd)
{
    struct fake_connection *connection;

    (void)pthread_mutex_lock(&server->mutex);
    if (server->n_connections == FAKE_CONNECTIONS_MAX)
        die("too many connections");
    connection = &server->connections[server->n_connections++];
    *connection = (struct fake_connection){.server = server, .fd = fd};
    if (pthread_create(&connection->thread, NULL, serve, connection) != 0)
        die("pthread_create");
    (void)pthread_mutex_unlock(&server->mutex);
}

static void *accept_all(void *arg)
{
    struct fake_server *server = arg;
    struct pollfd fds[] = {{.fd = server->listen_fd, .events = POLLIN},
                           {.fd = server->stop_fds[0], .events = POLLIN}};

    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        if (fds[1].revents)
            break;
        if (fds[0].revents) {
            int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0)
                take(server, fd);
        }
    }
    /* Refuse from now on, and cut those that wait to be accepted. */
    (void)close(server->listen_fd);
    return NULL;
}

void fake_server_start(struct fake_server *server, fake_handler *handler, void *arg)
{
    server->handler = handler;
    server->arg = arg;
    server->running = true;
    if (pthread_create(&server->acceptor, NULL, accept_all, server) != 0)
        die("pthread_create");
}

bool fake_server_is_stopping(struct fake_server *server)
{
    bool stopping;

    (void)pthread_mutex_lock(&server->mutex);
    stopping = server->stopping;
    (void)pthread_mutex_unlock(&server->mutex);
    return stopping;
}

void fake_server_cut(struct fake_server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    if (write(server->stop_fds[1], "", 1) < 0)
        die("write");
    for (size_t i = 0; i < server->n_connections; i++)
        (void)shutdown(server->connections[i].fd, SHUT_RDWR);
    (void)pthread_mutex_unlock(&server->mutex);
}

void fake_server_stop(struct fake_server *server)
{
    if (server->running) {
        fake_server_cut(server);
        (void)pthread_join(server->acceptor, NULL);
        /* Nobody adds connections any more. */
        for (size_t i = 0; i < server->n_connections; i++) {
            (void)shutdown(server->connections[i].fd, SHUT_RDWR);
            (void)pthread_join(server->connections[i].thread, NULL);
            (void)close(server->connections[i].fd);
        }
    } else {
        (void)close(server->listen_fd);
    }
    (void)close(server->stop_fds[0]);
    (void)close(server->stop_fds[1]);
    (void)pthread_mutex_destroy(&server->mutex);
}

bool fake_server_saw(struct fake_server *server, const char *text)
{
    bool saw = false;

    (void)pthread_mutex_lock(&server->mutex);
    for (const char *line = server->log; line && *line && !saw;) {
        saw = strncmp(line, text, strlen(text)) == 0;
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    (void)pthread_mutex_unlock(&server->mutex);
    return saw;
}
