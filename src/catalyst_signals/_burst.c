/* The same bytes to many sockets: what outlet.one_by_one does in Python, without its cost a call (docs/decisions/0008).

   burst(ways, at, end, data) -> (at, taken): writes `data` to the sockets whose numbers stand in the list `ways` from `at`
   on, up to `end`, and stops at the first that does not take all of it, or is no number; it took `taken` bytes. It raises
   nothing: why a socket took nothing is found out by writing to it once more. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/socket.h>

#define MOST 256 /* Numbers copied at once, to write to them without the interpreter's lock. */

/* How many of these sockets took all of it; `*taken` is what the next one took of it. */
static int send_each(const int *sockets, int count, const char *data, size_t size, ssize_t *taken) {
    for (int i = 0; i < count; i++) {
        ssize_t sent = send(sockets[i], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent != (ssize_t)size) {
            *taken = sent > 0 ? sent : 0;
            return i;
        }
    }
    return count;
}

/* The numbers from `at` up to `end`, as far as they are some. */
static int numbers(PyObject *ways, Py_ssize_t at, Py_ssize_t end, int *sockets) {
    int count = 0;
    for (; at < end && count < MOST; at++) {
        PyObject *way = PyList_GET_ITEM(ways, at);
        if (!PyLong_CheckExact(way))
            break;
        long number = PyLong_AsLong(way);
        if (number < 0 || number > INT_MAX) {
            PyErr_Clear();
            break;
        }
        sockets[count++] = (int)number;
    }
    return count;
}

static PyObject *burst(PyObject *module, PyObject *args) {
    PyObject *ways;
    Py_ssize_t at, end, size;
    const char *data;
    int sockets[MOST], count, done;
    ssize_t taken = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!nny#:burst", &PyList_Type, &ways, &at, &end, &data, &size))
        return NULL;
    if (at < 0 || end > PyList_GET_SIZE(ways))
        return PyErr_Format(PyExc_IndexError, "burst: %zd to %zd of %zd ways", at, end, PyList_GET_SIZE(ways));
    do {
        count = numbers(ways, at, end, sockets);
        Py_BEGIN_ALLOW_THREADS
        done = send_each(sockets, count, data, (size_t)size, &taken);
        Py_END_ALLOW_THREADS
        at += done;
    } while (done == MOST);
    return Py_BuildValue("nn", at, (Py_ssize_t)taken);
}

static PyMethodDef methods[] = {
    {"burst", burst, METH_VARARGS, "burst(ways, at, end, data) -> (at, taken), as outlet.one_by_one"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_burst", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__burst(void) { return PyModule_Create(&definition); }
