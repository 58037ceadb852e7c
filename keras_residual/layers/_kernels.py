"""Convolution, pooling and activation as each backend does them fastest."""

import functools

import keras


def has_direct_convolution(kernel_size, data_format):
    """Whether `convolve` is faster than Keras's own operation."""
    if keras.backend.backend() == "jax":
        return (
            tuple(kernel_size) == (1, 1)
            and data_format == "channels_last"
            and _jax_runs_on_cpu()
        )
    return keras.backend.backend() == "torch"


def convolve(layer, inputs, kernel):
    """Convolution of a batch of images with the settings of a layer, or None."""
    if len(inputs.shape) != 4 or not has_direct_convolution(
        layer.kernel_size, layer.data_format
    ):
        return None
    if keras.backend.backend() == "jax":
        return _multiply_pixels(inputs, kernel, layer.strides)
    return _convolve_torch(
        inputs,
        kernel,
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        layer.data_format,
    )


def has_direct_pooling(data_format):
    """Whether `pool_maxima` is faster than Keras's own operation."""
    return keras.backend.backend() == "torch" and data_format == "channels_last"


def pool_maxima(layer, inputs):
    """Max pooling of a batch of images with the settings of a layer, or None."""
    if not has_direct_pooling(layer.data_format) or _torch_compiles():
        return None
    # A view, which PyTorch pools where it is; Keras copies it to `channels_first`.
    outputs = keras.ops.max_pool(
        keras.ops.transpose(inputs, (0, 3, 1, 2)),
        layer.pool_size,
        layer.strides,
        layer.padding,
        data_format="channels_first",
    )
    return keras.ops.transpose(outputs, (0, 2, 3, 1))


def activate_own(activation, inputs):
    """The activation of a tensor that nobody else holds; PyTorch writes over it."""
    if keras.backend.backend() == "torch" and activation is keras.activations.relu:
        return inputs.relu_()
    return activation(inputs)


def _convolve_torch(inputs, kernel, strides, padding, dilation_rate, data_format):
    import torch

    if _torch_compiles():
        return None
    inputs = keras.ops.convert_to_tensor(inputs)
    kernel = keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    memory_format = torch.contiguous_format
    if data_format == "channels_last":
        # A view. PyTorch reads from its strides that the channels come last.
        inputs = inputs.permute(0, 3, 1, 2)
        memory_format = torch.channels_last
    # Otherwise the forward pass copies the kernel, and the backward pass again.
    kernel = kernel.contiguous(memory_format=memory_format)
    channels, per_group = inputs.shape[1], kernel.shape[1]
    if per_group == 0 or channels % per_group:
        return None
    if kernel.shape[2:] == (1, 1) and channels < 8 and max(strides) > 1:
        # Here oneDNN (in PyTorch 2.13, on CPUs without AVX-512, in a single thread)
        # writes beyond its memory, and the process aborts.
        rows, columns = strides
        inputs, strides = inputs[:, :, ::rows, ::columns], (1, 1)
    pads = (0, 0)
    if padding == "same":
        sizes = zip(
            inputs.shape[2:], kernel.shape[2:], strides, dilation_rate, strict=True
        )
        before, after = zip(*(_same_padding(*axis) for axis in sizes), strict=True)
        if before == after:
            pads = before
        else:
            sides = (before[1], after[1], before[0], after[0])
            inputs = torch.nn.functional.pad(inputs, sides)
    outputs = torch.nn.functional.conv2d(
        inputs,
        kernel,
        stride=strides,
        padding=pads,
        dilation=dilation_rate,
        groups=channels // per_group,
    )
    return outputs.permute(0, 2, 3, 1) if data_format == "channels_last" else outputs


def _torch_compiles():
    """Whether PyTorch compiles, which chooses the layout of images itself.

    The compiler of PyTorch 2.13 also fails on permuted views of unknown size.
    """
    import torch

    return torch.compiler.is_compiling()


def _same_padding(size, kernel_size, stride, dilation_rate):
    """Pixels before and after, as TensorFlow defines `padding="same"`."""
    reach = dilation_rate * (kernel_size - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _multiply_pixels(inputs, kernel, strides):
    """A 1x1 convolution of `channels_last` images as a matrix product."""
    if inputs.shape[-1] != kernel.shape[2]:
        return None  # in groups
    rows, columns = strides
    return keras.ops.matmul(inputs[:, ::rows, ::columns], kernel[0, 0])


@functools.cache
def _jax_runs_on_cpu():
    import jax

    return jax.default_backend() == "cpu"
