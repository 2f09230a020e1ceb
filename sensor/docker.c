/* SPDX-License-Identifier: Apache-2.0 */
/* docker.c - see docker.h. */
#include "sensor/docker.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "lib/log.h"
#include "sensor/fsread.h"

#define UNIX_SCHEME "unix://"
#define QUESTIONS 4096
#define REPLY_MAX (4u << 20)
#define TIMEOUT_MS 5000L

struct reply {
    char *text;
    size_t size;
};

struct cb_docker {
    int root_fd;
    int event_fd;
    pthread_t thread;
    bool started;
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": files only */
    CURL *curl;                                               /* the thread's */
    struct cb_log_limit limit;                                /* the thread's */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop;
    size_t first, n_questions;
    char questions[QUESTIONS][CB_CONTAINER_ID_SIZE];
    size_t n_answers, room_answers, next_answer;
    struct cb_docker_answer *answers;
};

/* ---- parsing ---- */

static char *copy_text(const json_t *value, bool skip_slash)
{
    const char *text = json_string_value(value);

    if (text && skip_slash && *text == '/')
        text++;
    if (!text || !*text || strlen(text) >= CB_FRAME_MAX_TEXT)
        return NULL;
    return strdup(text);
}

static char *copy_labels(json_t *labels)
{
    cb_auto_free char *text = NULL;
    json_t *strings;
    const char *key;
    json_t *value;

    if (!json_is_object(labels) || json_object_size(labels) == 0)
        return NULL;
    strings = json_object();
    if (!strings)
        return NULL;
    json_object_foreach(labels, key, value)
    {
        if (json_is_string(value))
            (void)json_object_set(strings, key, value);
    }
    text = json_dumps(strings, JSON_COMPACT);
    json_decref(strings);
    if (!text || strlen(text) >= CB_FRAME_MAX_LABELS)
        return NULL;
    return cb_take(text);
}

int cb_docker_parse(const char *json, size_t size, struct cb_docker_answer *answer,
                    struct cb_err *err)
{
    json_error_t where;
    json_t *root = json_loadb(json, size, 0, &where);
    const json_t *config;

    if (!json_is_object(root)) {
        json_decref(root);
        return cb_err_set(err, EINVAL, "not a JSON object: %s", where.text);
    }
    config = json_object_get(root, "Config");
    answer->name = copy_text(json_object_get(root, "Name"), true);
    answer->image = copy_text(json_object_get(config, "Image"), false);
    answer->labels = copy_labels(json_object_get(config, "Labels"));
    answer->found = true;
    json_decref(root);
    return 0;
}

void cb_docker_answer_fini(struct cb_docker_answer *answer)
{
    free(answer->name);
    free(answer->image);
    free(answer->labels);
    *answer = (struct cb_docker_answer){0};
}

/* ---- the thread ---- */

static size_t take_reply(char *bytes, size_t one, size_t n, void *context)
{
    struct reply *reply = context;
    char *more;

    (void)one; /* always 1 */
    if (reply->size + n > REPLY_MAX)
        return 0;
    more = realloc(reply->text, reply->size + n + 1);
    if (!more)
        return 0;
    memcpy(more + reply->size, bytes, n);
    reply->text = more;
    reply->size += n;
    return n;
}

static int is_stopping(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct cb_docker *docker = context;
    bool stop;

    (void)a, (void)b, (void)c, (void)d;
    (void)pthread_mutex_lock(&docker->lock);
    stop = docker->stop;
    (void)pthread_mutex_unlock(&docker->lock);
    return stop;
}

static bool set_up_curl(struct cb_docker *docker, const char *url, struct reply *reply)
{
    CURL *c = docker->curl;

    return curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, docker->socket) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_reply) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, reply) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, is_stopping) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFODATA, docker) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
}

static int ask_engine(struct cb_docker *docker, struct cb_docker_answer *answer, struct cb_err *err)
{
    struct reply reply = {0};
    char url[128];
    long status = 0;
    CURLcode code;
    int r;

    if (!docker->socket[0])
        return -ENOENT;
    if (!docker->curl)
        docker->curl = curl_easy_init();
    (void)snprintf(url, sizeof(url), "http://docker/containers/%s/json", answer->id);
    if (!docker->curl || !set_up_curl(docker, url, &reply))
        return cb_err_set(err, ENOMEM, "cannot set up an HTTP request");
    code = curl_easy_perform(docker->curl);
    (void)curl_easy_getinfo(docker->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        r = cb_err_set(err, ECONNREFUSED, "no answer from %s: %s", docker->socket,
                       curl_easy_strerror(code));
    else if (status != 200 || !reply.text)
        r = cb_err_set(err, ENOENT, "%s answers %ld", docker->socket, status);
    else
        r = cb_docker_parse(reply.text, reply.size, answer, err);
    free(reply.text);
    return r;
}

static int ask_file(struct cb_docker *docker, struct cb_docker_answer *answer, struct cb_err *err)
{
    cb_auto_free char *text = NULL;
    char path[160];
    int r;

    (void)snprintf(path, sizeof(path), "var/lib/docker/containers/%s/config.v2.json", answer->id);
    r = cb_fsread_all(docker->root_fd, path, REPLY_MAX, &text, err);
    return r < 0 ? r : cb_docker_parse(text, strlen(text), answer, err);
}

static void look_up(struct cb_docker *docker, struct cb_docker_answer *answer)
{
    struct cb_err engine = {0};
    struct cb_err file = {0};

    if (ask_engine(docker, answer, &engine) == 0 || ask_file(docker, answer, &file) == 0)
        return;
    cb_log_limited(&docker->limit, UINT64_C(60000000000), CB_LOG_DEBUG,
                   "container %.12s: no name: %s; %s", answer->id, engine.text, file.text);
}

static void put_answer(struct cb_docker *docker, struct cb_docker_answer *answer)
{
    const uint64_t one = 1;

    if (docker->n_answers == docker->room_answers) {
        size_t room = docker->room_answers ? docker->room_answers * 2 : 16;
        struct cb_docker_answer *more = realloc(docker->answers, room * sizeof(*more));

        if (!more) {
            cb_docker_answer_fini(answer);
            return;
        }
        docker->answers = more;
        docker->room_answers = room;
    }
    docker->answers[docker->n_answers++] = *answer;
    (void)!write(docker->event_fd, &one, sizeof(one)); /* full: it is readable anyway */
}

static void *work(void *context)
{
    struct cb_docker *docker = context;

    (void)pthread_mutex_lock(&docker->lock);
    while (!docker->stop) {
        struct cb_docker_answer answer = {0};

        if (docker->n_questions == 0) {
            (void)pthread_cond_wait(&docker->wake, &docker->lock);
            continue;
        }
        memcpy(answer.id, docker->questions[docker->first], sizeof(answer.id));
        docker->first = (docker->first + 1) % QUESTIONS;
        docker->n_questions--;
        (void)pthread_mutex_unlock(&docker->lock);
        look_up(docker, &answer);
        (void)pthread_mutex_lock(&docker->lock);
        put_answer(docker, &answer);
    }
    (void)pthread_mutex_unlock(&docker->lock);
    return NULL;
}

/* ---- the caller's side ---- */

static int parse_host(struct cb_docker *docker, const char *host, struct cb_err *err)
{
    if (!*host)
        return 0;
    if (strncmp(host, UNIX_SCHEME, strlen(UNIX_SCHEME)) != 0)
        return cb_err_set(err, EINVAL,
                          "Docker host '%s': only unix:///path can be asked for the containers of "
                          "this machine (--docker-host)",
                          host);
    host += strlen(UNIX_SCHEME);
    if (*host != '/' || strlen(host) >= sizeof(docker->socket))
        return cb_err_set(err, EINVAL, "Docker host 'unix://%s' is no absolute path of a socket",
                          host);
    (void)snprintf(docker->socket, sizeof(docker->socket), "%s", host);
    return 0;
}

int cb_docker_open(int root_fd, const char *host, struct cb_docker **ret_docker, struct cb_err *err)
{
    struct cb_docker *docker = calloc(1, sizeof(*docker));
    int r;

    if (!docker)
        return cb_err_set(err, ENOMEM, "out of memory");
    docker->root_fd = root_fd;
    docker->event_fd = -1;
    (void)pthread_mutex_init(&docker->lock, NULL);
    (void)pthread_cond_init(&docker->wake, NULL);
    r = parse_host(docker, host, err);
    if (r == 0) {
        docker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (docker->event_fd < 0)
            r = cb_err_set(err, errno, "eventfd: %s", strerror(errno));
    }
    if (r == 0) {
        r = -pthread_create(&docker->thread, NULL, work, docker);
        docker->started = r == 0;
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread: %s", strerror(-r));
    }
    if (r < 0)
        (void)cb_docker_close(docker);
    else
        *ret_docker = docker;
    return r;
}

struct cb_docker *cb_docker_close(struct cb_docker *docker)
{
    if (!docker)
        return NULL;
    if (docker->started) {
        (void)pthread_mutex_lock(&docker->lock);
        docker->stop = true;
        (void)pthread_cond_signal(&docker->wake);
        (void)pthread_mutex_unlock(&docker->lock);
        (void)pthread_join(docker->thread, NULL);
    }
    if (docker->curl)
        curl_easy_cleanup(docker->curl);
    if (docker->event_fd >= 0)
        (void)close(docker->event_fd);
    for (size_t i = docker->next_answer; i < docker->n_answers; i++)
        cb_docker_answer_fini(&docker->answers[i]);
    free(docker->answers);
    (void)pthread_cond_destroy(&docker->wake);
    (void)pthread_mutex_destroy(&docker->lock);
    free(docker);
    return NULL;
}

bool cb_docker_ask(struct cb_docker *docker, const char *id)
{
    bool room;

    (void)pthread_mutex_lock(&docker->lock);
    room = docker->n_questions < QUESTIONS;
    if (room) {
        size_t at = (docker->first + docker->n_questions++) % QUESTIONS;

        (void)snprintf(docker->questions[at], sizeof(docker->questions[at]), "%s", id);
        (void)pthread_cond_signal(&docker->wake);
    }
    (void)pthread_mutex_unlock(&docker->lock);
    return room;
}

int cb_docker_fd(const struct cb_docker *docker)
{
    return docker->event_fd;
}

bool cb_docker_take(struct cb_docker *docker, struct cb_docker_answer *ret_answer)
{
    uint64_t count;
    bool any;

    (void)pthread_mutex_lock(&docker->lock);
    any = docker->next_answer < docker->n_answers;
    if (any) {
        *ret_answer = docker->answers[docker->next_answer++];
    } else {
        docker->n_answers = docker->next_answer = 0;
        (void)!read(docker->event_fd, &count, sizeof(count)); /* empty: nothing to clear */
    }
    (void)pthread_mutex_unlock(&docker->lock);
    return any;
}
