vim.bo.commentstring = '// %s'
vim.bo.shiftwidth = 2
vim.bo.expandtab = true
require('fgc').attach(0)
require('fgc').highlight(0)
