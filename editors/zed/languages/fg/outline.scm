(function_item "fn" @context name: (_) @name) @item
(layer_item "layer" @context name: (_) @name) @item
(schedule_item "schedule" @context name: (_) @name) @item
(method_item "method" @context name: (_) @name) @item
(extern_item "extern" @context "kernel" @context name: (_) @name) @item
(step_statement "step" @context) @item
(net_statement "net" @context name: (_) @name) @item
(loss_statement "loss" @context name: (_) @name) @item
(sample_statement "sample" @context) @item
