vim.api.nvim_create_autocmd({ 'BufRead', 'BufNewFile' }, {
  pattern = '*.fg',
  callback = function() vim.bo.filetype = 'fg' end,
})
-- Presets: RON in a folder of that name.
vim.api.nvim_create_autocmd({ 'BufRead', 'BufNewFile' }, {
  pattern = '*/presets/*.ron',
  callback = function(event)
    vim.bo.filetype = 'ron'
    require('fgc').attach(event.buf)
  end,
})
